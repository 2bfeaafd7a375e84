"""What Windows wants before a function takes more than a page of stack: that every page is touched, in order."""

STACK_PROBE = r"""
target triple = ""
target datalayout = ""

; mov r11, rax; lea r10, [rsp+8]
; next: cmp r11, 4096; jb last; sub r10, 4096; or qword ptr [r10], 0; sub r11, 4096; jmp next
; last: sub r10, r11; or qword ptr [r10], 0; ret
; LLVM calls it by this name before anything else in a function, with the size of the frame in rax, which it keeps.
; r10 and r11 hold nothing then. It leaves rsp as it is, so it needs no unwind information. As bytes, for the reason
; that dispatch.py has.
define void @___chkstk_ms()
prologue <{[15 x i8], [22 x i8], [8 x i8]}> <{
  [15 x i8] c"\49\89\C3\4C\8D\54\24\08\49\81\FB\00\10\00\00",
  [22 x i8] c"\72\14\49\81\EA\00\10\00\00\49\83\0A\00\49\81\EB\00\10\00\00\EB\E3",
  [8 x i8] c"\4D\29\DA\49\83\0A\00\C3"}> {
  unreachable
}
"""
