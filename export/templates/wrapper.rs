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
    fn @name@_outside(x: *const @rust@, n: i64) -> i64;
    fn @name@_selftest() -> i32;
}

fn count(x: &[@rust@], n_in: usize, y: &[@rust@], n_out: usize) -> i64 {
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
/// How many of the points x (n, `N_IN`) lie outside the domain box.
pub fn outside(x: &[@rust@]) -> usize {
    let n = count(x, N_IN, &[], 0);
    unsafe { @name@_outside(x.as_ptr(), n) as usize }
}

/// 0 if this processor returns the golden bits; otherwise the number of the first that differs, or a code < 0.
pub fn selftest() -> i32 {
    unsafe { @name@_selftest() }
}
