/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * boot.S - a boot sector: has the firmware read sector 70000 of the disk it came from, sends the
 * text in it, up to a zero byte, to the serial port, and powers a q35 machine off. Real mode; the
 * firmware puts it at 0x7c00 with the number of the disk in dl. Addresses count from `start`.
 */
        .code16
        .text
start:
        xorw    %ax, %ax
        movw    %ax, %ds
        movw    $0x7c00, %sp
        movw    $0x7c00 + packet - start, %si
        movb    $0x42, %ah              /* extended read, dl is the disk */
        int     $0x13
        jc      off
        movw    $0x8000, %si
next:
        lodsb
        testb   %al, %al
        jz      off
        movb    %al, %bl
        movw    $0x3fd, %dx             /* wait until the port takes a byte */
wait:
        inb     %dx, %al
        testb   $0x20, %al
        jz      wait
        movw    $0x3f8, %dx
        movb    %bl, %al
        outb    %al, %dx
        jmp     next
off:
        movw    $0x604, %dx             /* power management of q35: soft off */
        movw    $0x2000, %ax
        outw    %ax, %dx
        hlt
packet:
        .byte   16, 0
        .word   1                       /* sectors */
        .word   0x8000, 0               /* to here */
        .quad   70000                   /* from here */
        .org    start + 510
        .word   0xaa55
