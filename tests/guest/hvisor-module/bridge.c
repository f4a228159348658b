// SPDX-License-Identifier: GPL-2.0-only OR BSD-3-Clause
/*
 * bridge.c - see bridge.h.
 *
 * As with hvisor, whatever uses /dev/hvisor last has the bridge: nothing keeps a second daemon out,
 * and nothing is undone when the file is closed. Each INIT_VIRTIO makes a new page; the ones before
 * stay until the module goes, since they may be mapped.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/bitmap.h>
#include <linux/bits.h>
#include <linux/build_bug.h>
#include <linux/delay.h>
#include <linux/eventfd.h>
#include <linux/fs.h>
#include <linux/io.h>
#include <linux/jiffies.h>
#include <linux/list.h>
#include <linux/miscdevice.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/sched/signal.h>
#include <linux/spinlock.h>
#include <linux/wait.h>

#include "bridge.h"
#include "slot.h"

#define ENTRIES 32
#define PENDING_MAX 7		/* interrupts of a zone, each another one */

#define INIT_VIRTIO 0x100
#define FINISH_REQ 0x102
#define SET_EVENTFD 0x40040107
#define NO_IRQ 25		/* of INIT_VIRTIO, and not negative */

struct request {
	u64 src_cpu;
	u64 address;
	u64 size;
	u64 value;
	u32 src_zone;
	u8 is_write;
	u8 need_interrupt;
	u16 padding;
};

struct result {
	u32 zone;
	u32 irq;
};

struct bridge_page {
	u32 req_front;		/* the daemon writes */
	u32 req_rear;
	u32 res_front;
	u32 res_rear;		/* the daemon writes */
	struct request req_list[ENTRIES];
	struct result res_list[ENTRIES];
	u64 cfg_flags[ZONE_CPUS];	/* the daemon writes, as all below */
	u64 cfg_values[ZONE_CPUS];
	u64 mmio_addrs[8];
	u8 mmio_avail;
	u8 need_wakeup;
};

static_assert(sizeof(struct request) == 40);
static_assert(sizeof(struct bridge_page) == 2136);
static_assert(offsetof(struct bridge_page, req_list) == 0x010);
static_assert(offsetof(struct bridge_page, res_list) == 0x510);
static_assert(offsetof(struct bridge_page, cfg_flags) == 0x610);
static_assert(offsetof(struct bridge_page, cfg_values) == 0x710);
static_assert(offsetof(struct bridge_page, need_wakeup) == 0x851);

struct vcpu {
	struct mutex lock;
	/* Under it: */
	bool waits;		/* for an answer, also after it was given up */
	u64 flag;		/* that was there before, */
	struct bridge_page *page;	/* on this page */
};

static struct vcpu vcpus[ZONE_CPUS];

/* From here on under this lock, also in interrupts. What the daemon writes is on the page. */
static DEFINE_SPINLOCK(lock);
static struct bridge_page *page;	/* NULL: no INIT_VIRTIO yet */
static LIST_HEAD(pages);		/* all there were, by their lru */
static u32 req_rear, res_front;
static struct eventfd_ctx *doorbell;
static unsigned long pending[ZONE_IDS][BITS_TO_LONGS(ZONE_IRQS)];
static struct zone_counters counters;

static DECLARE_WAIT_QUEUE_HEAD(irq_wait);

static bool no_irq;
module_param(no_irq, bool, 0644);
MODULE_PARM_DESC(no_irq, "the device tree of the root zone lacks the interrupt");
static bool no_wakeup;
module_param(no_wakeup, bool, 0644);
MODULE_PARM_DESC(no_wakeup, "wake-ups are lost");
static unsigned int wait_seconds = 30;
module_param(wait_seconds, uint, 0644);
MODULE_PARM_DESC(wait_seconds, "a vCPU gives up its access after this time");

/* ---- requests ------------------------------------------------------------------------------- */

/* Under the lock, perhaps with interrupts off, as hvisor's module in its interrupt. */
static void signal_doorbell(void)
{
	if (!doorbell || no_wakeup)
		return;
	eventfd_signal(doorbell, 1);
	counters.wakeups++;
}

/* Under the lock. */
static int push(const struct zone_access *a)
{
	u32 next = (req_rear + 1) % ENTRIES;

	if (!page)
		return -ENXIO;
	if (next == smp_load_acquire(&page->req_front))
		return -EAGAIN;
	page->req_list[req_rear] = (struct request) {
		.src_cpu = a->cpu,
		.address = a->address,
		.size = a->size,
		.value = a->value,
		.src_zone = a->zone,
		.is_write = a->write,
		.need_interrupt = a->notify,
	};
	req_rear = next;
	smp_store_release(&page->req_rear, next);
	smp_mb();	/* either the daemon sees this request, or we see that it sleeps */
	if (READ_ONCE(page->need_wakeup))
		signal_doorbell();
	return 0;
}

int bridge_notify(const struct zone_access *a)
{
	unsigned long flags;
	int err;

	spin_lock_irqsave(&lock, flags);
	err = push(a);
	counters.notifies += !err;
	spin_unlock_irqrestore(&lock, flags);
	return err;
}

static int request_answer(struct vcpu *v, const struct zone_access *a)
{
	unsigned long flags;
	u64 flag;
	int err;

	spin_lock_irqsave(&lock, flags);
	flag = page ? smp_load_acquire(&page->cfg_flags[a->cpu]) : 0;
	err = push(a);
	if (!err) {
		v->waits = true;
		v->flag = flag;
		v->page = page;
		counters.waiting |= BIT_ULL(a->cpu);
	}
	spin_unlock_irqrestore(&lock, flags);
	return err;
}

static int pause(unsigned long deadline)
{
	if (fatal_signal_pending(current))
		return -EINTR;
	if (time_after(jiffies, deadline))
		return -ETIMEDOUT;
	usleep_range(20, 60);
	return 0;
}

/* On whatever page is there: if another daemon has come, its page, with the flag of the old one. */
static int wait_answer(struct vcpu *v, u32 cpu, unsigned long deadline, u64 *value)
{
	struct bridge_page *now;
	int err;

	for (;;) {
		now = READ_ONCE(page);
		if (smp_load_acquire(&now->cfg_flags[cpu]) != v->flag)
			break;
		err = pause(deadline);
		if (err)
			return err;
	}
	*value = READ_ONCE(now->cfg_values[cpu]);
	v->waits = false;
	spin_lock_irq(&lock);
	counters.waiting &= ~BIT_ULL(cpu);
	counters.accesses++;
	counters.renewed += now != v->page;
	spin_unlock_irq(&lock);
	return 0;
}

static int access_alone(struct vcpu *v, struct zone_access *a)
{
	unsigned long deadline = jiffies + wait_seconds * HZ;
	u64 unwanted;
	int err = 0;

	if (v->waits)
		err = wait_answer(v, a->cpu, deadline, &unwanted);
	while (!err) {
		err = a->notify ? bridge_notify(a) : request_answer(v, a);
		if (err != -EAGAIN)
			break;
		err = pause(deadline);
	}
	if (err || a->notify)
		return err;
	return wait_answer(v, a->cpu, deadline, &a->value);
}

int bridge_access(struct zone_access *a)
{
	struct vcpu *v = &vcpus[a->cpu % ZONE_CPUS];
	int err;

	might_sleep();
	err = mutex_lock_killable(&v->lock);
	if (err)
		return err;
	err = access_alone(v, a);
	mutex_unlock(&v->lock);
	return err;
}

/* ---- interrupts ----------------------------------------------------------------------------- */

/* Under the lock. */
static void interrupt(u32 zone, u32 irq)
{
	if (zone >= ZONE_IDS || irq >= ZONE_IRQS) {
		pr_err("interrupt %u of zone %u cannot be\n", irq, zone);
		return;
	}
	counters.interrupts++;
	if (slot_interrupt(zone, irq))
		return;
	if (!test_bit(irq, pending[zone]) &&
	    bitmap_weight(pending[zone], ZONE_IRQS) == PENDING_MAX)
		counters.overflows++;
	set_bit(irq, pending[zone]);
	wake_up_all(&irq_wait);
}

static int finish_req(void)
{
	struct result r;
	int err = 0;
	u32 rear;

	spin_lock_irq(&lock);
	rear = page ? smp_load_acquire(&page->res_rear) : 0;
	if (!page || rear >= ENTRIES)
		err = -EINVAL;
	while (!err && res_front != rear) {
		r = page->res_list[res_front];
		res_front = (res_front + 1) % ENTRIES;
		smp_store_release(&page->res_front, res_front);
		interrupt(r.zone, r.irq);
	}
	counters.finishes++;
	spin_unlock_irq(&lock);
	return err;
}

int bridge_wait_irq(const struct zone_irq *irq)
{
	long left;

	if (irq->zone >= ZONE_IDS || irq->irq >= ZONE_IRQS)
		return -EINVAL;
	left = wait_event_interruptible_timeout(irq_wait,
			test_and_clear_bit(irq->irq, pending[irq->zone]),
			msecs_to_jiffies(irq->timeout_ms));
	if (left < 0)
		return -EINTR;
	return left ? 0 : -ETIME;
}

void bridge_counters(struct zone_counters *c)
{
	spin_lock_irq(&lock);
	*c = counters;
	spin_unlock_irq(&lock);
}

/* ---- /dev/hvisor ---------------------------------------------------------------------------- */

static int init_virtio(void)
{
	struct bridge_page *new;

	if (no_irq)
		return NO_IRQ;
	new = (struct bridge_page *)get_zeroed_page(GFP_KERNEL);
	if (!new)
		return -ENOMEM;
	spin_lock_irq(&lock);
	list_add(&virt_to_page(new)->lru, &pages);
	req_rear = 0;
	res_front = 0;
	WRITE_ONCE(page, new);
	counters.inits++;
	spin_unlock_irq(&lock);
	return 0;
}

static int set_eventfd(int fd)
{
	struct eventfd_ctx *new = eventfd_ctx_fdget(fd), *old;

	if (IS_ERR(new))
		return PTR_ERR(new);
	spin_lock_irq(&lock);
	old = doorbell;
	doorbell = new;
	spin_unlock_irq(&lock);
	if (old)
		eventfd_ctx_put(old);
	return 0;
}

static long hvisor_ioctl(struct file *file, unsigned int request, unsigned long arg)
{
	switch (request) {
	case INIT_VIRTIO:
		return init_virtio();
	case FINISH_REQ:
		return finish_req();
	case SET_EVENTFD:
		return set_eventfd((int)arg);
	default:
		return -EINVAL;
	}
}

/* Offset 0 is the bridge, any other the physical address. No page of it is pinned or counted. */
static int hvisor_mmap(struct file *file, struct vm_area_struct *vma)
{
	unsigned long size = vma->vm_end - vma->vm_start, pfn = vma->vm_pgoff;

	if (pfn == 0) {
		struct bridge_page *bridge = READ_ONCE(page);

		if (!bridge || size != PAGE_SIZE)
			return -EINVAL;
		pfn = virt_to_phys(bridge) >> PAGE_SHIFT;
	}
	return remap_pfn_range(vma, vma->vm_start, pfn, size, vma->vm_page_prot);
}

static const struct file_operations hvisor_fops = {
	.owner = THIS_MODULE,
	.unlocked_ioctl = hvisor_ioctl,
	.mmap = hvisor_mmap,
	.llseek = noop_llseek,
};

static struct miscdevice hvisor_device = {
	.minor = MISC_DYNAMIC_MINOR,
	.name = "hvisor",
	.mode = 0600,
	.fops = &hvisor_fops,
};

int bridge_start(void)
{
	int i;

	for (i = 0; i < ZONE_CPUS; i++)
		mutex_init(&vcpus[i].lock);
	return misc_register(&hvisor_device);
}

/* Nobody has the files open, and there are no slots. */
void bridge_end(void)
{
	struct page *old, *next;

	misc_deregister(&hvisor_device);
	if (doorbell)
		eventfd_ctx_put(doorbell);
	list_for_each_entry_safe(old, next, &pages, lru)
		__free_page(old);
}
