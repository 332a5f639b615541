// Byte 0 of the parasite blob. The engine set rsp to the top of the blob's own stack and rdi to its Session (parasite/session.h).
// parasite_main returns when the engine is gone: flags become the thread's own, then the springboard does the rest, rdi the
// area that it is to unmap. It returns rather than jumps away, so that a shadow stack is as it was.
.section .text.entry, "ax", @progbits
.global parasite_entry
parasite_entry:
  mov %rdi, %rbx
  call parasite_main
  mov 0(%rbx), %rdi
  pushq 16(%rbx)
  popfq
  jmp *8(%rbx)
.section .note.GNU-stack, "", @progbits
