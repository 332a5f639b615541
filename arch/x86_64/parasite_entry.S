// Byte 0 of the parasite blob. The engine set rsp to the top of the blob's own stack and rdi to its Session.
.section .text.entry, "ax", @progbits
.global parasite_entry
parasite_entry:
  call parasite_main
  ud2
.section .note.GNU-stack, "", @progbits
