//! What may be left once all peers are gone: shared queues and their bindings, known to all.

use super::super::Shard;
use super::world::World;

pub fn assert_nothing_is_left(world: &mut World) {
    world.run();
    let registrar_view = world.shards[0].topology.listed();
    for shard in &mut world.shards {
        assert_eq!(shard.connection_count(), 0, "connections");
        assert_eq!(shard.registrar.pending_count(), 0, "proposals");
        assert_eq!(shard.topology.listed(), registrar_view, "one topology");
        assert!(shard.agenda.queues.is_empty() && !shard.agenda.has_work());
        for to in 0..world.layout.shard_count {
            let outbox = shard.outbox(to);
            assert!(outbox.is_none_or(|o| o.urgent.is_empty() && o.ordinary.is_empty()));
        }
        for (_, queue) in &shard.queues {
            assert!(queue.attributes.exclusive.is_none(), "exclusive queues");
            assert!(queue.consumers.is_empty(), "consumers");
            assert_eq!(queue.unacked_count(), 0, "deliveries");
            let mut listed = registrar_view.iter();
            assert!(listed.any(|(_, entry)| entry.address == queue.address));
        }
    }
    let queues: Vec<_> = registrar_view
        .iter()
        .map(|(_, entry)| entry.address)
        .collect();
    for address in world.shards[0].topology.bound_queues() {
        assert!(queues.contains(&address), "bindings of what is gone");
    }
    for (name, entry) in &registrar_view {
        let owner = &mut world.shards[usize::from(entry.address.shard)];
        assert!(owner.queue_mut(entry.address).is_some(), "{name} lives");
    }
    world.shards.iter().for_each(Shard::invariants);
}
