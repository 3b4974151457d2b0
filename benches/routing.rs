//! What routing adds: one publish and its delivery, through each type of exchange.

use benches::route::{Exchange, Route};
use criterion::{Criterion, criterion_group, criterion_main};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const BODY_LEN: usize = 64;

fn routes(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("routing");
    for exchange in Exchange::ALL {
        let binding_counts: &[usize] = match exchange {
            Exchange::Fanout => &[1],
            _ => &[1, 100, 10_000],
        };
        for binding_count in binding_counts {
            let mut route = Route::set_up(exchange, *binding_count, BODY_LEN);
            let name = format!("{}, {binding_count} bindings", exchange.name());
            group.bench_function(name, |bencher| bencher.iter(|| route.run()));
        }
    }
    group.finish();
}

criterion_group!(benches, routes);
criterion_main!(benches);
