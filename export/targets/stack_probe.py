"""What Windows wants before a function takes more than a page of stack: that every page is touched, in order."""

STACK_PROBE = r"""
target triple = ""
target datalayout = ""

; push rcx; push rax; lea rcx, [rsp+24]
; next: cmp rax, 4096; jb last; sub rcx, 4096; or qword ptr [rcx], 0; sub rax, 4096; jmp next
; last: sub rcx, rax; or qword ptr [rcx], 0; pop rax; pop rcx; ret
; LLVM calls it by this name, with the size of the frame in rax. As bytes, for the reason that dispatch.py has.
define void @___chkstk_ms()
prologue <{[13 x i8], [21 x i8], [10 x i8]}> <{
  [13 x i8] c"\51\50\48\8D\4C\24\18\48\3D\00\10\00\00",
  [21 x i8] c"\72\13\48\81\E9\00\10\00\00\48\83\09\00\48\2D\00\10\00\00\EB\E5",
  [10 x i8] c"\48\29\C1\48\83\09\00\58\59\C3"}> {
  unreachable
}
"""
