//! What may be left once all peers are gone: shared queues and their bindings, known to all.

use super::super::{Census, Shard};
use super::world::World;
use crate::engine::topology::Topology;

pub fn assert_nothing_is_left(world: &mut World) {
    world.run();
    let topologies = world.shards[0].topologies.iter();
    let registrar_view: Vec<_> = topologies.flat_map(Topology::listed).collect();
    let registrar_listing = world.shards[0].topology_listing();
    for shard in &world.shards {
        let census = shard.census();
        let queues_alone = Census {
            queue_count: census.queue_count,
            message_count: census.message_count,
            queued_len: census.queued_len,
            service_count: census.service_count.min(census.queue_count),
            is_idle: true,
            ..Census::default()
        };
        assert_eq!(census, queues_alone);
        assert_eq!(shard.topology_listing(), registrar_listing, "one topology");
        for (_, queue) in &shard.queues {
            let mut listed = registrar_view.iter();
            assert!(listed.any(|(_, entry)| entry.address == queue.address));
        }
    }
    let queues: Vec<_> = registrar_view
        .iter()
        .map(|(_, entry)| entry.address)
        .collect();
    let topologies = world.shards[0].topologies.iter();
    for address in topologies.flat_map(Topology::bound_queues) {
        assert!(queues.contains(&address), "bindings of what is gone");
    }
    for (name, entry) in &registrar_view {
        let owner = &mut world.shards[usize::from(entry.address.shard)];
        assert!(owner.queue_mut(entry.address).is_some(), "{name} lives");
    }
    world.shards.iter().for_each(Shard::invariants);
}
