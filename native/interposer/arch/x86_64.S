/* SPDX-License-Identifier: Apache-2.0
 *
 * Entries whose parameters are not known: phase ones of operators, launches of the layer below, and the dl functions.
 * An index says which function it is; the caller's registers reach the real function as they came.
 */
#include "../entries/stubs.h"

        .hidden flexnpu_phase_one_begin
        .hidden flexnpu_phase_one_end
        .hidden flexnpu_phase_two
        .hidden flexnpu_forward_begin
        .hidden flexnpu_forward_end
        .hidden flexnpu_dlsym
        .hidden flexnpu_dlvsym
        .hidden flexnpu_dlopen
        .hidden flexnpu_dlmopen

/* One row of aclnn.def: phase two has four parameters, the index becomes the fifth. */
        .set    index, 0
        .macro  operator_stub name
        .globl  \name
        .type   \name, @function
\name:
.Ltwo_\name:
        endbr64
        movl    $index, %r8d
        jmp     flexnpu_phase_two
        .size   \name, . - \name
        .globl  \name\()GetWorkspaceSize
        .type   \name\()GetWorkspaceSize, @function
\name\()GetWorkspaceSize:
.Lone_\name:
        endbr64
        movl    $index, %r11d
        jmp     phase_one
        .size   \name\()GetWorkspaceSize, . - \name\()GetWorkspaceSize
        .pushsection .data.rel.ro.flexnpu_operators, "aw"
        .quad   .Lone_\name, .Ltwo_\name
        .popsection
        .set    index, index + 1
        .endm

        .pushsection .data.rel.ro.flexnpu_operators, "aw"
        .balign 8
        .globl  flexnpu_operator_stubs
        .hidden flexnpu_operator_stubs
flexnpu_operator_stubs:
        .popsection

        .text
#define FLEXNPU_ACLNN(name, words, reals) operator_stub name
#include "aclnn.def"

/* offsets in struct flexnpu_phase_one; the struct begins at -256(%rbp) */
#define FRAME -256
#define REALS 64
#define INDEX 192
#define REAL 200
#define COPIED 208
#define STACK 216

        .type   phase_one, @function
phase_one:
        .cfi_startproc
        pushq   %rbp
        .cfi_def_cfa_offset 16
        .cfi_offset rbp, -16
        movq    %rsp, %rbp
        .cfi_def_cfa_register rbp
        subq    $256, %rsp
        movq    %rdi, FRAME+0(%rbp)
        movq    %rsi, FRAME+8(%rbp)
        movq    %rdx, FRAME+16(%rbp)
        movq    %rcx, FRAME+24(%rbp)
        movq    %r8, FRAME+32(%rbp)
        movq    %r9, FRAME+40(%rbp)
        movaps  %xmm0, FRAME+REALS+0(%rbp)
        movaps  %xmm1, FRAME+REALS+16(%rbp)
        movaps  %xmm2, FRAME+REALS+32(%rbp)
        movaps  %xmm3, FRAME+REALS+48(%rbp)
        movaps  %xmm4, FRAME+REALS+64(%rbp)
        movaps  %xmm5, FRAME+REALS+80(%rbp)
        movaps  %xmm6, FRAME+REALS+96(%rbp)
        movaps  %xmm7, FRAME+REALS+112(%rbp)
        movq    %r11, FRAME+INDEX(%rbp)
        leaq    16(%rbp), %rax
        movq    %rax, FRAME+STACK(%rbp)
        leaq    FRAME(%rbp), %rdi
        call    flexnpu_phase_one_begin
        movq    FRAME+COPIED(%rbp), %rcx
        testq   %rcx, %rcx
        jz      1f
        leaq    1(%rcx), %rax           /* rounded up to an even count: the stack stays 16-aligned */
        andq    $-2, %rax
        shlq    $3, %rax
        subq    %rax, %rsp
        movq    %rsp, %rdi
        leaq    16(%rbp), %rsi
        rep movsq
1:      movq    FRAME+0(%rbp), %rdi
        movq    FRAME+8(%rbp), %rsi
        movq    FRAME+16(%rbp), %rdx
        movq    FRAME+24(%rbp), %rcx
        movq    FRAME+32(%rbp), %r8
        movq    FRAME+40(%rbp), %r9
        movaps  FRAME+REALS+0(%rbp), %xmm0
        movaps  FRAME+REALS+16(%rbp), %xmm1
        movaps  FRAME+REALS+32(%rbp), %xmm2
        movaps  FRAME+REALS+48(%rbp), %xmm3
        movaps  FRAME+REALS+64(%rbp), %xmm4
        movaps  FRAME+REALS+80(%rbp), %xmm5
        movaps  FRAME+REALS+96(%rbp), %xmm6
        movaps  FRAME+REALS+112(%rbp), %xmm7
        movl    $8, %eax                /* for a real function with a variable argument list: registers in use */
        call    *FRAME+REAL(%rbp)
        movl    %eax, FRAME+REAL(%rbp)
        leaq    FRAME(%rbp), %rdi
        movl    %eax, %esi
        call    flexnpu_phase_one_end
        movl    FRAME+REAL(%rbp), %eax
        leave
        .cfi_def_cfa rsp, 8
        ret
        .cfi_endproc
        .size   phase_one, . - phase_one

/* Launches of the layer below. */
        .set    index, 0
        .macro  forward_stub name
        .globl  \name
        .type   \name, @function
\name:
.Lforward_\name:
        endbr64
        movl    $index, %r11d
        jmp     forward
        .size   \name, . - \name
        .pushsection .data.rel.ro.flexnpu_forwards, "aw"
        .quad   .Lforward_\name
        .popsection
        .set    index, index + 1
        .endm

        .pushsection .data.rel.ro.flexnpu_forwards, "aw"
        .balign 8
        .globl  flexnpu_forward_stubs
        .hidden flexnpu_forward_stubs
flexnpu_forward_stubs:
        .popsection

#define FLEXNPU_FORWARD(name, kind) forward_stub name
#include "functions.def"

/* A counted call goes on by a call, so that what it calls in turn is not counted again; every other one by a jump. */
        .type   forward, @function
forward:
        .cfi_startproc
        pushq   %rbp
        .cfi_def_cfa_offset 16
        .cfi_offset rbp, -16
        movq    %rsp, %rbp
        .cfi_def_cfa_register rbp
        pushq   %rdi
        pushq   %rsi
        pushq   %rdx
        pushq   %rcx
        pushq   %r8
        pushq   %r9
        subq    $16, %rsp
        movl    %r11d, %edi
        call    flexnpu_forward_begin
        movq    %rax, -56(%rbp)
        testq   %rdx, %rdx
        jz      1f
        subq    $(8 * FLEXNPU_FORWARD_WORDS), %rsp
        movq    %rsp, %rdi
        leaq    16(%rbp), %rsi
        movl    $FLEXNPU_FORWARD_WORDS, %ecx
        rep movsq
1:      movq    -8(%rbp), %rdi
        movq    -16(%rbp), %rsi
        movq    %rdx, %rax
        movq    -24(%rbp), %rdx
        movq    -32(%rbp), %rcx
        movq    -40(%rbp), %r8
        movq    -48(%rbp), %r9
        movq    -56(%rbp), %r11
        testq   %rax, %rax
        jz      2f
        call    *%r11
        movq    %rax, -56(%rbp)
        call    flexnpu_forward_end
        movq    -56(%rbp), %rax
        leave
        .cfi_remember_state
        .cfi_def_cfa rsp, 8
        ret
        .cfi_restore_state
2:      leave
        .cfi_def_cfa rsp, 8
        jmp     *%r11
        .cfi_endproc
        .size   forward, . - forward

/* The dl functions: a jump to the real one leaves the caller's return address where RTLD_NEXT and $ORIGIN look for it. */
        .macro  lookup_entry name, answer
        .globl  \name
        .type   \name, @function
\name:
        .cfi_startproc
        endbr64
        pushq   %rdi
        pushq   %rsi
        pushq   %rdx
        .cfi_def_cfa_offset 32
        call    \answer
        movq    %rdx, %rcx
        popq    %rdx
        popq    %rsi
        popq    %rdi
        .cfi_def_cfa_offset 8
        testq   %rcx, %rcx
        jz      1f
        ret
1:      jmp     *%rax
        .cfi_endproc
        .size   \name, . - \name
        .endm

        lookup_entry dlsym, flexnpu_dlsym
        lookup_entry dlvsym, flexnpu_dlvsym
        lookup_entry dlopen, flexnpu_dlopen
        lookup_entry dlmopen, flexnpu_dlmopen

        .section .note.GNU-stack, "", @progbits
