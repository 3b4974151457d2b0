//! What of a message decides where it goes.

use super::super::wire::properties::Properties;
use super::Exchange;

#[derive(Clone, Copy, Debug)]
pub struct Routing<'a> {
    pub routing_key: &'a [u8],
    /// Further routing keys, which the message names in its headers.
    pub copies: &'a [&'a [u8]],
    pub properties: &'a Properties<'a>,
}

impl<'a> Routing<'a> {
    /// Those that this exchange has to be asked for.
    pub fn keys(&self, exchange: &Exchange) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        let copies = if exchange.heeds_routing_key() {
            self.copies
        } else {
            &[]
        };
        std::iter::once(self.routing_key).chain(copies.iter().copied())
    }
}
