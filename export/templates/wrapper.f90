! @name@.f90: the model @name@ for Fortran 2008, @precision@. Written by kdpinn_edge @version@; link as for @name@.h.
!
! A column of x is a point of @n_in@ numbers, and the same column of y its values. The functions return 0 or a code < 0.
module @name@
  use, intrinsic :: iso_c_binding, only: @kind@, c_int32_t, c_int64_t
  implicit none

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
  end interface
end module
