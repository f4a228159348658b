// SPDX-License-Identifier: GPL-2.0-only OR BSD-3-Clause
/*
 * slot.c - see slot.h.
 *
 * The rings and buffers of the drivers are where the kernel puts them, and their physical addresses
 * are what the device is told: the zone's memory is this kernel's memory, at the same addresses.
 *
 * Interrupts are a work item for each slot, since a register access sleeps until the daemon has
 * answered. Notifications come from anywhere, so they are handed over without waiting; those that
 * the list has no room for are left to another work item.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/bitops.h>
#include <linux/device.h>
#include <linux/list.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/slab.h>
#include <linux/spinlock.h>
#include <linux/virtio.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ring.h>
#include <linux/workqueue.h>
#include <uapi/linux/virtio_mmio.h>

#include "bridge.h"
#include "slot.h"

#define MAGIC ('v' | 'i' << 8 | 'r' << 16 | 't' << 24)
#define QUEUES_MAX 64

struct slot {
	struct virtio_device vdev;
	struct zone_slot at;
	struct list_head link;
	bool live;			/* there are queues; under slots_lock */
	struct work_struct interrupt;
	struct work_struct notify;
	DECLARE_BITMAP(late, QUEUES_MAX);	/* queues whose notification found no room */
};

static DEFINE_MUTEX(plug_lock);
static DEFINE_SPINLOCK(slots_lock);	/* taken with the bridge's lock held */
static LIST_HEAD(slots);		/* changed under both */
static struct workqueue_struct *works;
static struct device *parent;

static struct slot *to_slot(struct virtio_device *vdev)
{
	return container_of(vdev, struct slot, vdev);
}

/* ---- registers ------------------------------------------------------------------------------ */

static struct zone_access access_of(const struct slot *s, u32 offset, u32 size)
{
	return (struct zone_access) {
		.address = s->at.address + offset,
		.zone = s->at.zone,
		.cpu = s->at.cpu,
		.size = size,
	};
}

/* What nobody answers reads 0, as an access does that outlives the daemon. */
static u32 read_sized(struct slot *s, u32 offset, u32 size)
{
	struct zone_access a = access_of(s, offset, size);
	int err = bridge_access(&a);

	if (!err)
		return a.value;
	pr_err("register 0x%x of the slot at 0x%llx is not read: %d\n", offset, s->at.address, err);
	return 0;
}

static void write_sized(struct slot *s, u32 offset, u32 size, u32 value)
{
	struct zone_access a = access_of(s, offset, size);
	int err;

	a.write = 1;
	a.value = value;
	err = bridge_access(&a);
	if (err)
		pr_err("register 0x%x of the slot at 0x%llx is not written: %d\n", offset,
		       s->at.address, err);
}

static u32 read_register(struct slot *s, u32 offset)
{
	return read_sized(s, offset, 4);
}

static void write_register(struct slot *s, u32 offset, u32 value)
{
	write_sized(s, offset, 4, value);
}

/* ---- the configuration ---------------------------------------------------------------------- */

/* Fields are read in one access, those of 8 bytes in two, all else byte by byte. */
static void slot_get(struct virtio_device *vdev, unsigned int offset, void *buf, unsigned int len)
{
	unsigned int step = len == 8 ? 4 : len == 4 || len == 2 ? len : 1, i;
	__le32 le;

	for (i = 0; i < len; i += step) {
		le = cpu_to_le32(read_sized(to_slot(vdev), VIRTIO_MMIO_CONFIG + offset + i, step));
		memcpy(buf + i, &le, step);
	}
}

static void slot_set(struct virtio_device *vdev, unsigned int offset, const void *buf,
		     unsigned int len)
{
	unsigned int step = len == 8 ? 4 : len == 4 || len == 2 ? len : 1, i;

	for (i = 0; i < len; i += step) {
		__le32 le = 0;

		memcpy(&le, buf + i, step);
		write_sized(to_slot(vdev), VIRTIO_MMIO_CONFIG + offset + i, step,
			    le32_to_cpu(le));
	}
}

static u32 slot_generation(struct virtio_device *vdev)
{
	return read_register(to_slot(vdev), VIRTIO_MMIO_CONFIG_GENERATION);
}

static u8 slot_get_status(struct virtio_device *vdev)
{
	return read_register(to_slot(vdev), VIRTIO_MMIO_STATUS);
}

static void slot_set_status(struct virtio_device *vdev, u8 status)
{
	write_register(to_slot(vdev), VIRTIO_MMIO_STATUS, status);
}

static void slot_reset(struct virtio_device *vdev)
{
	write_register(to_slot(vdev), VIRTIO_MMIO_STATUS, 0);
}

static u64 slot_get_features(struct virtio_device *vdev)
{
	struct slot *s = to_slot(vdev);
	u64 high, low;

	write_register(s, VIRTIO_MMIO_DEVICE_FEATURES_SEL, 1);
	high = read_register(s, VIRTIO_MMIO_DEVICE_FEATURES);
	write_register(s, VIRTIO_MMIO_DEVICE_FEATURES_SEL, 0);
	low = read_register(s, VIRTIO_MMIO_DEVICE_FEATURES);
	return high << 32 | low;
}

static int slot_finalize_features(struct virtio_device *vdev)
{
	struct slot *s = to_slot(vdev);

	vring_transport_features(vdev);
	if (!__virtio_test_bit(vdev, VIRTIO_F_VERSION_1))
		return -EINVAL;
	write_register(s, VIRTIO_MMIO_DRIVER_FEATURES_SEL, 1);
	write_register(s, VIRTIO_MMIO_DRIVER_FEATURES, vdev->features >> 32);
	write_register(s, VIRTIO_MMIO_DRIVER_FEATURES_SEL, 0);
	write_register(s, VIRTIO_MMIO_DRIVER_FEATURES, vdev->features);
	return 0;
}

static const char *slot_bus_name(struct virtio_device *vdev)
{
	return "hvisor";
}

/* ---- queues --------------------------------------------------------------------------------- */

static struct zone_access notification(const struct slot *s, unsigned int queue)
{
	struct zone_access a = access_of(s, VIRTIO_MMIO_QUEUE_NOTIFY, 4);

	a.write = 1;
	a.notify = 1;
	a.value = queue;
	return a;
}

/* Any context. */
static bool notify(struct virtqueue *vq)
{
	struct slot *s = to_slot(vq->vdev);
	struct zone_access a = notification(s, vq->index);

	if (bridge_notify(&a) == -EAGAIN) {
		set_bit(vq->index, s->late);
		queue_work(works, &s->notify);
	}
	return true;
}

static void notify_late(struct work_struct *work)
{
	struct slot *s = container_of(work, struct slot, notify);
	struct zone_access a;
	unsigned int queue;

	for (queue = 0; queue < QUEUES_MAX; queue++) {
		if (!test_and_clear_bit(queue, s->late))
			continue;
		a = notification(s, queue);
		if (bridge_access(&a))
			pr_err("a notification of queue %u is lost\n", queue);
	}
}

static void set_live(struct slot *s, bool live)
{
	spin_lock_irq(&slots_lock);
	s->live = live;
	spin_unlock_irq(&slots_lock);
}

static void write_address(struct slot *s, u32 offset, u64 address)
{
	write_register(s, offset, address);
	write_register(s, offset + 4, address >> 32);
}

static struct virtqueue *make_queue(struct slot *s, unsigned int index, vq_callback_t *callback,
				    const char *name, bool ctx)
{
	struct virtqueue *vq;
	u32 most;

	write_register(s, VIRTIO_MMIO_QUEUE_SEL, index);
	if (index >= QUEUES_MAX || read_register(s, VIRTIO_MMIO_QUEUE_READY))
		return ERR_PTR(-ENOENT);
	most = read_register(s, VIRTIO_MMIO_QUEUE_NUM_MAX);
	if (!most)
		return ERR_PTR(-ENOENT);
	vq = vring_create_virtqueue(index, most, PAGE_SIZE, &s->vdev, true, true, ctx, notify,
				    callback, name);
	if (!vq)
		return ERR_PTR(-ENOMEM);
	vq->num_max = most;
	write_register(s, VIRTIO_MMIO_QUEUE_NUM, virtqueue_get_vring_size(vq));
	write_address(s, VIRTIO_MMIO_QUEUE_DESC_LOW, virtqueue_get_desc_addr(vq));
	write_address(s, VIRTIO_MMIO_QUEUE_AVAIL_LOW, virtqueue_get_avail_addr(vq));
	write_address(s, VIRTIO_MMIO_QUEUE_USED_LOW, virtqueue_get_used_addr(vq));
	write_register(s, VIRTIO_MMIO_QUEUE_READY, 1);
	return vq;
}

static void slot_del_vqs(struct virtio_device *vdev)
{
	struct slot *s = to_slot(vdev);
	struct virtqueue *vq, *next;

	set_live(s, false);
	cancel_work_sync(&s->interrupt);
	cancel_work_sync(&s->notify);
	list_for_each_entry_safe(vq, next, &vdev->vqs, list) {
		write_register(s, VIRTIO_MMIO_QUEUE_SEL, vq->index);
		write_register(s, VIRTIO_MMIO_QUEUE_READY, 0);
		if (read_register(s, VIRTIO_MMIO_QUEUE_READY))
			pr_err("queue %u of the slot at 0x%llx does not end\n", vq->index,
			       s->at.address);
		vring_del_virtqueue(vq);
	}
}

static int slot_find_vqs(struct virtio_device *vdev, unsigned int n, struct virtqueue *vqs[],
			 vq_callback_t *callbacks[], const char * const names[], const bool *ctx,
			 struct irq_affinity *desc)
{
	struct slot *s = to_slot(vdev);
	unsigned int i, index = 0;
	int err;

	bitmap_zero(s->late, QUEUES_MAX);
	for (i = 0; i < n; i++) {
		vqs[i] = NULL;
		if (!names[i])
			continue;
		vqs[i] = make_queue(s, index++, callbacks[i], names[i], ctx ? ctx[i] : false);
		if (IS_ERR(vqs[i])) {
			err = PTR_ERR(vqs[i]);
			slot_del_vqs(vdev);
			return err;
		}
	}
	set_live(s, true);
	return 0;
}

static void slot_synchronize(struct virtio_device *vdev)
{
	flush_work(&to_slot(vdev)->interrupt);
}

static const struct virtio_config_ops slot_ops = {
	.get = slot_get,
	.set = slot_set,
	.generation = slot_generation,
	.get_status = slot_get_status,
	.set_status = slot_set_status,
	.reset = slot_reset,
	.find_vqs = slot_find_vqs,
	.del_vqs = slot_del_vqs,
	.synchronize_cbs = slot_synchronize,
	.get_features = slot_get_features,
	.finalize_features = slot_finalize_features,
	.bus_name = slot_bus_name,
};

/* ---- interrupts ----------------------------------------------------------------------------- */

static void handle_interrupt(struct work_struct *work)
{
	struct slot *s = container_of(work, struct slot, interrupt);
	u32 status = read_register(s, VIRTIO_MMIO_INTERRUPT_STATUS);
	struct virtqueue *vq;

	write_register(s, VIRTIO_MMIO_INTERRUPT_ACK, status);
	if (status & VIRTIO_MMIO_INT_CONFIG)
		virtio_config_changed(&s->vdev);
	if (!(status & VIRTIO_MMIO_INT_VRING))
		return;
	/* Softirqs the drivers raise run at the end of this, as after an interrupt. */
	local_bh_disable();
	list_for_each_entry(vq, &s->vdev.vqs, list)
		vring_interrupt(0, vq);
	local_bh_enable();
}

bool slot_interrupt(u32 zone, u32 irq)
{
	unsigned long flags;
	bool found = false;
	struct slot *s;

	spin_lock_irqsave(&slots_lock, flags);
	list_for_each_entry(s, &slots, link) {
		if (s->at.zone != zone || s->at.irq != irq)
			continue;
		found = true;
		if (s->live)
			queue_work(works, &s->interrupt);
	}
	spin_unlock_irqrestore(&slots_lock, flags);
	return found;
}

/* ---- plugging ------------------------------------------------------------------------------- */

static void release_slot(struct device *dev)
{
	kfree(to_slot(dev_to_virtio(dev)));
}

/* Under plug_lock. */
static struct slot *find_slot(u32 zone, u64 address)
{
	struct slot *s;

	list_for_each_entry(s, &slots, link)
		if (s->at.zone == zone && s->at.address == address)
			return s;
	return NULL;
}

static int examine(struct slot *s)
{
	if (read_register(s, VIRTIO_MMIO_MAGIC_VALUE) != MAGIC ||
	    read_register(s, VIRTIO_MMIO_VERSION) != 2)
		return -ENXIO;
	s->vdev.id.device = read_register(s, VIRTIO_MMIO_DEVICE_ID);
	s->vdev.id.vendor = read_register(s, VIRTIO_MMIO_VENDOR_ID);
	return s->vdev.id.device ? 0 : -ENODEV;
}

static void set_listed(struct slot *s, bool listed)
{
	spin_lock_irq(&slots_lock);
	if (listed)
		list_add(&s->link, &slots);
	else
		list_del(&s->link);
	spin_unlock_irq(&slots_lock);
}

static int plug(struct zone_slot *at)
{
	struct slot *s;
	int err;

	if (find_slot(at->zone, at->address))
		return -EBUSY;
	s = kzalloc(sizeof(*s), GFP_KERNEL);
	if (!s)
		return -ENOMEM;
	s->at = *at;
	INIT_WORK(&s->interrupt, handle_interrupt);
	INIT_WORK(&s->notify, notify_late);
	s->vdev.dev.parent = parent;
	s->vdev.dev.release = release_slot;
	s->vdev.config = &slot_ops;
	err = examine(s);
	if (err) {
		kfree(s);
		return err;
	}
	at->device_id = s->vdev.id.device;
	set_listed(s, true);
	err = register_virtio_device(&s->vdev);
	if (err) {
		set_listed(s, false);
		put_device(&s->vdev.dev);
	}
	return err;
}

int slot_plug(struct zone_slot *at)
{
	int err;

	if (at->zone >= ZONE_IDS || at->cpu >= ZONE_CPUS || at->irq >= ZONE_IRQS)
		return -EINVAL;
	if (mutex_lock_killable(&plug_lock))
		return -EINTR;
	err = plug(at);
	mutex_unlock(&plug_lock);
	return err;
}

/* Its interrupts arrive until the driver has let go. */
static void take_out(struct slot *s)
{
	get_device(&s->vdev.dev);
	unregister_virtio_device(&s->vdev);
	set_listed(s, false);
	put_device(&s->vdev.dev);
}

int slot_unplug(const struct zone_slot *at)
{
	struct slot *s;

	if (mutex_lock_killable(&plug_lock))
		return -EINTR;
	s = find_slot(at->zone, at->address);
	if (s)
		take_out(s);
	mutex_unlock(&plug_lock);
	return s ? 0 : -ENOENT;
}

int slot_start(void)
{
	works = alloc_workqueue("hvisor-zone", WQ_UNBOUND | WQ_MEM_RECLAIM, 0);
	if (!works)
		return -ENOMEM;
	parent = root_device_register("hvisor-zone");
	if (!IS_ERR(parent))
		return 0;
	destroy_workqueue(works);
	return PTR_ERR(parent);
}

void slot_end(void)
{
	struct slot *s, *next;

	mutex_lock(&plug_lock);
	list_for_each_entry_safe(s, next, &slots, link)
		take_out(s);
	mutex_unlock(&plug_lock);
	root_device_unregister(parent);
	destroy_workqueue(works);
}
