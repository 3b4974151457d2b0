//! What becomes of a channel's publishes: nothing is said of them, they are confirmed, or they wait
//! for tx.commit. A channel leaves no mode but the first.

use super::{Confirm, Transaction};

#[derive(Debug, Default)]
pub enum Publishing {
    #[default]
    Plain,
    Confirm(Confirm),
    Transaction(Box<Transaction>),
}

impl Publishing {
    /// confirm.select. False: the channel is transactional.
    pub fn select_confirm(&mut self) -> bool {
        if matches!(self, Publishing::Plain) {
            *self = Publishing::Confirm(Confirm::default());
        }
        matches!(self, Publishing::Confirm(_))
    }

    /// tx.select. False: the channel is in confirm mode.
    pub fn select_transaction(&mut self) -> bool {
        if matches!(self, Publishing::Plain) {
            *self = Publishing::Transaction(Box::default());
        }
        matches!(self, Publishing::Transaction(_))
    }

    pub fn confirm(&self) -> Option<&Confirm> {
        match self {
            Publishing::Confirm(confirm) => Some(confirm),
            _ => None,
        }
    }

    #[inline]
    pub fn confirm_mut(&mut self) -> Option<&mut Confirm> {
        match self {
            Publishing::Confirm(confirm) => Some(confirm),
            _ => None,
        }
    }

    pub fn transaction(&self) -> Option<&Transaction> {
        match self {
            Publishing::Transaction(transaction) => Some(transaction),
            _ => None,
        }
    }

    #[inline]
    pub fn transaction_mut(&mut self) -> Option<&mut Transaction> {
        match self {
            Publishing::Transaction(transaction) => Some(transaction),
            _ => None,
        }
    }
}
