//! The model @name@, @precision@. Written by kdpinn_edge @version@.
//!
//! Points and values are slices: n points of `N_IN` numbers (@inputs@), and n rows of values, one after the other. The bits
//! are those of `@name@_eval` in C. Sizes that do not belong together are a panic, as for slices.
#![no_std]

/// Numbers of a point: @inputs@.
pub const N_IN: usize = @n_in@;
@each per_call@
/// Inputs that are constant during a call: @p@.
pub const N_P: usize = @n_p@;
/// Numbers of a point beside them: @x@.
pub const N_X: usize = @n_x@;
@end@

/// The code < 0 that a function returned; kdpinn_edge.h says what it means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Error(pub i32);

impl core::fmt::Display for Error {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "@name@ returned {}; kdpinn_edge.h says what that means", self.0)
    }
}

extern "C" {
@each function@
    fn @name@_@function@(x: *const @rust@, y: *mut @rust@, n: i64) -> i32;
@end@
@each function_for@
    fn @name@_@function@_for(p: *const @rust@, x: *const @rust@, y: *mut @rust@, n: i64) -> i32;
@end@
@each function_fixed@
    fn @name@_@function@_fixed(x: *const i32, y: *mut i32, n: i64) -> i32;
@end@
    fn @name@_outside(x: *const @rust@, n: i64) -> i64;
    fn @name@_selftest() -> i32;
    fn @name@_integrity() -> i32;
    fn @name@_model() -> *const Model;
}

/// `kdpinn_model` of kdpinn_edge.h, up to the last field that is read here.
#[repr(C)]
struct Model {
    _sizes: [i32; 3],
    n_functions: i32,
    _described: [*const u8; 6],
    functions: *const Function,
}

/// `kdpinn_function` of kdpinn_edge.h.
#[repr(C)]
struct Function {
    _name: *const u8,
    program_sha256: *const u8,
    _others: [*const u8; 3],
    _n_out: i32,
}

fn count<T>(x: &[T], n_in: usize, y: &[T], n_out: usize) -> i64 {
    let n = x.len() / n_in;
    assert_eq!(x.len(), n * n_in, "x has {} numbers; expected: {} for each point", x.len(), n_in);
    assert_eq!(y.len(), n * n_out, "y has {} numbers; expected: {} for each of {} points", y.len(), n_out, n);
    n as i64
}

fn checked(status: i32) -> Result<(), Error> {
    if status == 0 {
        Ok(())
    } else {
        Err(Error(status))
    }
}

@each function@
/// Columns of y for `@function@`.
pub mod @function@ {
    pub const N_OUT: usize = @n_out@;
    /// The hash of its Program.
    pub const SHA256: &str = "@sha256@";
@rust_columns@
}

/// @meaning@: y (n, `@function@::N_OUT`) at x (n, `N_IN`).
pub fn @function@(x: &[@rust@], y: &mut [@rust@]) -> Result<(), Error> {
    let n = count(x, N_IN, y, @function@::N_OUT);
    checked(unsafe { @name@_@function@(x.as_ptr(), y.as_mut_ptr(), n) })
}

@end@
@each function_for@
/// `@function@` for one p, the inputs that are constant during a call; x (n, `N_X`) has the others.
pub fn @function@_for(p: &[@rust@; N_P], x: &[@rust@], y: &mut [@rust@]) -> Result<(), Error> {
    let n = count(x, N_X, y, @function@::N_OUT);
    checked(unsafe { @name@_@function@_for(p.as_ptr(), x.as_ptr(), y.as_mut_ptr(), n) })
}

@end@
@each function_fixed@
/// Fraction bits of the words of `@function@_fixed`: a word q stands for q 2^-bits.
pub mod @function@_fixed {
    pub const X_BITS: [i32; super::N_IN] = [@x_bits@];
    pub const Y_BITS: [i32; super::@function@::N_OUT] = [@y_bits@];
}

/// `@function@` in integers alone: words y (n, `@function@::N_OUT`) at words x (n, `N_IN`).
pub fn @function@_fixed(x: &[i32], y: &mut [i32]) -> Result<(), Error> {
    let n = count(x, N_IN, y, @function@::N_OUT);
    checked(unsafe { @name@_@function@_fixed(x.as_ptr(), y.as_mut_ptr(), n) })
}

@end@
/// How many of the points x (n, `N_IN`) lie outside the domain box.
pub fn outside(x: &[@rust@]) -> usize {
    let n = count(x, N_IN, &[], 0);
    unsafe { @name@_outside(x.as_ptr(), n) as usize }
}

/// 0 if this processor returns the golden bits; otherwise the number of the first that differs, or a code < 0.
pub fn selftest() -> i32 {
    unsafe { @name@_selftest() }
}

/// 0 if code and constants in memory are those that were exported.
pub fn integrity() -> i32 {
    unsafe { @name@_integrity() }
}

/// Whether the library that runs has the Programs of this crate; else it is another version of the model.
pub fn matches() -> bool {
    let programs = [
@each function@
        @function@::SHA256,
@end@
    ];
    let model = unsafe { &*@name@_model() };
    let same = |(i, program): (usize, &&str)| unsafe {
        core::slice::from_raw_parts((*model.functions.add(i)).program_sha256, program.len()) == program.as_bytes()
    };
    model.n_functions as usize == programs.len() && programs.iter().enumerate().all(same)
}
@each jacobian@

/// The column of `jet` that is the derivative of output i by input j, both counted from 0.
pub const fn jacobian(i: usize, j: usize) -> usize {
    @first@ + @n_in@ * i + j
}
@end@
@each hessian@

/// The column of `jet` that is the derivative of output i by the inputs j and k, in either order.
pub const fn hessian(i: usize, j: usize, k: usize) -> usize {
    let (low, high) = if j <= k { (j, k) } else { (k, j) };
    @first@ + @n_pairs@ * i + low * (2 * @n_in@ - 1 - low) / 2 + high
}
@end@
