// SPDX-License-Identifier: GPL-2.0-only OR BSD-3-Clause
/*
 * main.c - hvisor_standin: stands for hvisor and its kernel module on a machine without hvisor.
 * /dev/hvisor is for the daemon and as hvisor's own; /dev/hvisor-zone is for the programs that test
 * it, which are the zones. The zones' memory is memory of this machine.
 */
#include <linux/fs.h>
#include <linux/gfp.h>
#include <linux/io.h>
#include <linux/miscdevice.h>
#include <linux/module.h>
#include <linux/uaccess.h>

#include "bridge.h"
#include "slot.h"
#include "zone.h"

#define MEMORY_SIZE (1ul << 20)

static void *memory;	/* a zone's, nobody else's */

static long do_access(void __user *arg)
{
	struct zone_access a;
	int err;

	if (copy_from_user(&a, arg, sizeof(a)))
		return -EFAULT;
	if (a.cpu >= ZONE_CPUS)
		return -EINVAL;
	err = bridge_access(&a);
	if (!err && copy_to_user(arg, &a, sizeof(a)))
		return -EFAULT;
	return err;
}

static long do_plug(void __user *arg)
{
	struct zone_slot s;
	int err;

	if (copy_from_user(&s, arg, sizeof(s)))
		return -EFAULT;
	err = slot_plug(&s);
	if (!err && copy_to_user(arg, &s, sizeof(s)))
		return -EFAULT;
	return err;
}

static long do_unplug(const void __user *arg)
{
	struct zone_slot s;

	return copy_from_user(&s, arg, sizeof(s)) ? -EFAULT : slot_unplug(&s);
}

static long do_wait_irq(const void __user *arg)
{
	struct zone_irq irq;

	return copy_from_user(&irq, arg, sizeof(irq)) ? -EFAULT : bridge_wait_irq(&irq);
}

static long do_memory(void __user *arg)
{
	struct zone_memory m = { virt_to_phys(memory), MEMORY_SIZE };

	return copy_to_user(arg, &m, sizeof(m)) ? -EFAULT : 0;
}

static long do_counters(void __user *arg)
{
	struct zone_counters c;

	bridge_counters(&c);
	return copy_to_user(arg, &c, sizeof(c)) ? -EFAULT : 0;
}

static long zone_ioctl(struct file *file, unsigned int request, unsigned long arg)
{
	void __user *user = (void __user *)arg;

	switch (request) {
	case ZONE_ACCESS:
		return do_access(user);
	case ZONE_PLUG:
		return do_plug(user);
	case ZONE_UNPLUG:
		return do_unplug(user);
	case ZONE_WAIT_IRQ:
		return do_wait_irq(user);
	case ZONE_MEMORY:
		return do_memory(user);
	case ZONE_COUNTERS:
		return do_counters(user);
	default:
		return -ENOTTY;
	}
}

static const struct file_operations zone_fops = {
	.owner = THIS_MODULE,
	.unlocked_ioctl = zone_ioctl,
	.llseek = noop_llseek,
};

static struct miscdevice zone_device = {
	.minor = MISC_DYNAMIC_MINOR,
	.name = "hvisor-zone",
	.mode = 0600,
	.fops = &zone_fops,
};

static int __init standin_init(void)
{
	int err;

	memory = alloc_pages_exact(MEMORY_SIZE, GFP_KERNEL | __GFP_ZERO);
	if (!memory)
		return -ENOMEM;
	err = slot_start();
	if (err)
		goto free_memory;
	err = bridge_start();
	if (err)
		goto end_slots;
	err = misc_register(&zone_device);
	if (!err)
		return 0;
	bridge_end();
end_slots:
	slot_end();
free_memory:
	free_pages_exact(memory, MEMORY_SIZE);
	return err;
}

static void __exit standin_exit(void)
{
	misc_deregister(&zone_device);
	slot_end();
	bridge_end();
	free_pages_exact(memory, MEMORY_SIZE);
}

module_init(standin_init);
module_exit(standin_exit);
MODULE_DESCRIPTION("stands for hvisor and its kernel module in tests of hvisor-vhost");
MODULE_LICENSE("Dual BSD/GPL");
