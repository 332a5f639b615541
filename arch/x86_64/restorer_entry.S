// Byte 0 of the restorer blob. The engine set rsp to the top of the blob's own stack and rdi to its Session.
.section .text.entry, "ax", @progbits
.global restorer_entry
restorer_entry:
  call restorer_main
  ud2
.section .note.GNU-stack, "", @progbits
