// Byte 0 of the restorer blob. The engine set rsp to the top of the blob's own stack and rdi to its arguments (wire::RestorerArgs).
.section .text.entry, "ax", @progbits
.global restorer_entry
restorer_entry:
  call restorer_main
  ud2

// long restorer_clone(const clone_args* args, size_t size, void (*main)(void*), void* argument)
// The child has an empty stack of its own, so it cannot return: it calls main. A system call clobbers rcx and r11.
.text
.global restorer_clone
.hidden restorer_clone
restorer_clone:
  mov %rcx, %r8
  mov $435, %eax
  syscall
  test %rax, %rax
  jz 1f
  ret
1:
  xor %ebp, %ebp
  mov %r8, %rdi
  call *%rdx
  ud2
.section .note.GNU-stack, "", @progbits
