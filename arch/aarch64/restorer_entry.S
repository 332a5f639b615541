// Byte 0 of the restorer blob. The engine set sp to the top of the blob's own stack and x0 to its arguments (wire::RestorerArgs).
.section .text.entry, "ax", %progbits
.global restorer_entry
restorer_entry:
  bl restorer_main
  brk #0

// long restorer_clone(const clone_args* args, size_t size, void (*main)(void*), void* argument)
// The child has an empty stack of its own, so it cannot return: it calls main.
.text
.global restorer_clone
.hidden restorer_clone
restorer_clone:
  mov x8, #435
  svc #0
  cbz x0, 1f
  ret
1:
  mov x29, #0
  mov x0, x3
  blr x2
  brk #0
.section .note.GNU-stack, "", %progbits
