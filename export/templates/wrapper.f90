! @name@.f90: the model @name@ for Fortran 2008, @precision@. Written by kdpinn_edge @version@; link as for @name@.h.
!
! A column of x is a point of @n_in@ numbers, and the same column of y its values. The functions return 0 or a code < 0.
module @name@
  use, intrinsic :: iso_c_binding, only: @kind@, c_int32_t, c_int64_t, c_char, c_ptr, c_f_pointer
  implicit none
  private :: c_char, c_ptr, c_f_pointer, described_model, described_function

  integer, parameter :: @name@_kind = @kind@
  integer, parameter :: @name@_n_in = @n_in@
@each per_call@
  integer, parameter :: @name@_n_p = @n_p@
  integer, parameter :: @name@_n_x = @n_x@
@end@
@each function@
  integer, parameter :: @name@_@function@_n_out = @n_out@
@fortran@
@end@
@each function_fixed@
  ! Fraction bits of the words of @name@_@function@_fixed: a word q stands for q 2**(-bits).
  integer, parameter :: @name@_@function@_x_bits(@name@_n_in) = [@x_bits@]
  integer, parameter :: @name@_@function@_y_bits(@name@_@function@_n_out) = [@y_bits@]
@end@

  ! kdpinn_model of kdpinn_edge.h, up to the last field that is read here, and kdpinn_function.
  type, bind(c) :: described_model
    integer(c_int32_t) :: sizes(3), n_functions
    type(c_ptr) :: described(6), functions
  end type
  type, bind(c) :: described_function
    type(c_ptr) :: name, program_sha256, others(3)
    integer(c_int32_t) :: n_out
  end type

  interface
@each function@
    ! @meaning@.
    function @name@_@function@(x, y, n) bind(c) result(status)
      import :: @kind@, c_int32_t, c_int64_t, @name@_n_in, @name@_@function@_n_out
      real(@kind@), intent(in) :: x(@name@_n_in, *)
      real(@kind@), intent(out) :: y(@name@_@function@_n_out, *)
      integer(c_int64_t), value :: n
      integer(c_int32_t) :: status
    end function

@end@
@each function_for@
    ! @function@ for one p, the inputs that are constant during a call; x has the others.
    function @name@_@function@_for(p, x, y, n) bind(c) result(status)
      import :: @kind@, c_int32_t, c_int64_t, @name@_n_p, @name@_n_x, @name@_@function@_n_out
      real(@kind@), intent(in) :: p(@name@_n_p), x(@name@_n_x, *)
      real(@kind@), intent(out) :: y(@name@_@function@_n_out, *)
      integer(c_int64_t), value :: n
      integer(c_int32_t) :: status
    end function

@end@
@each function_fixed@
    ! @function@ in integers alone.
    function @name@_@function@_fixed(x, y, n) bind(c) result(status)
      import :: c_int32_t, c_int64_t, @name@_n_in, @name@_@function@_n_out
      integer(c_int32_t), intent(in) :: x(@name@_n_in, *)
      integer(c_int32_t), intent(out) :: y(@name@_@function@_n_out, *)
      integer(c_int64_t), value :: n
      integer(c_int32_t) :: status
    end function

@end@
    ! How many of n points lie outside the domain box.
    function @name@_outside(x, n) bind(c) result(points)
      import :: @kind@, c_int64_t, @name@_n_in
      real(@kind@), intent(in) :: x(@name@_n_in, *)
      integer(c_int64_t), value :: n
      integer(c_int64_t) :: points
    end function

    ! 0 if this processor returns the golden bits.
    function @name@_selftest() bind(c) result(status)
      import :: c_int32_t
      integer(c_int32_t) :: status
    end function

    ! 0 if code and constants in memory are those that were exported.
    function @name@_integrity() bind(c) result(status)
      import :: c_int32_t
      integer(c_int32_t) :: status
    end function

    ! kdpinn_model of kdpinn_edge.h.
    function @name@_model() bind(c) result(model)
      import :: c_ptr
      type(c_ptr) :: model
    end function
  end interface
contains
  ! Whether the library that runs has the Programs of this module; else it is another version of the model.
  function @name@_matches() result(same)
    logical :: same
    type(described_model), pointer :: model
    type(described_function), pointer :: functions(:)
    call c_f_pointer(@name@_model(), model)
    call c_f_pointer(model%functions, functions, [model%n_functions])
    same = model%n_functions == @n_functions@
@each function@
    if (same) same = has_program(functions(@number@), '@sha256@')
@end@
  contains
    function has_program(described, sha256) result(equal)
      type(described_function), intent(in) :: described
      character(64), intent(in) :: sha256
      logical :: equal
      character(kind=c_char), pointer :: found(:)
      integer :: i
      call c_f_pointer(described%program_sha256, found, [64])
      equal = all([(found(i) == sha256(i:i), i = 1, 64)])
    end function
  end function
@each jacobian@

  ! The row of @name@_jet that is the derivative of output i by input j, both counted from 1.
  pure function @name@_jacobian(i, j) result(row)
    integer, intent(in) :: i, j
    integer :: row
    row = @first@ + @n_in@ * (i - 1) + j
  end function
@end@
@each hessian@

  ! The row of @name@_jet that is the derivative of output i by the inputs j and k, in either order.
  pure function @name@_hessian(i, j, k) result(row)
    integer, intent(in) :: i, j, k
    integer :: row, low
    low = min(j, k) - 1
    row = @first@ + @n_pairs@ * (i - 1) + low * (2 * @n_in@ - 1 - low) / 2 + max(j, k)
  end function
@end@
end module
