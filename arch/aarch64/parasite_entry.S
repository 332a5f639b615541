// Byte 0 of the parasite blob. The engine set sp to the top of the blob's own stack and x0 to its Session (parasite/session.h).
// parasite_main returns when the engine is gone: flags become the thread's own, then the springboard does the rest, x0 the
// area that it is to unmap.
.section .text.entry, "ax", %progbits
.global parasite_entry
parasite_entry:
  mov x19, x0
  bl parasite_main
  ldr x0, [x19, #0]
  ldr x1, [x19, #16]
  msr nzcv, x1
  ldr x16, [x19, #8]
  br x16
.section .note.GNU-stack, "", %progbits
