//! Names of exchanges, queues, consumers and routing keys: short strings, kept.

use std::borrow::Borrow;
use std::fmt;

/// Up to 255 octets, usually UTF-8. Printed with what is not UTF-8 replaced.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Name(Box<[u8]>);

impl Name {
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Octets that a list of names holds.
    pub fn sum_len(names: &[Name]) -> usize {
        let lens = names.iter().map(|name| size_of::<Name>() + name.0.len());
        lens.sum()
    }
}

impl From<&[u8]> for Name {
    fn from(bytes: &[u8]) -> Name {
        assert!(bytes.len() <= 255, "a name is a short string");
        Name(bytes.into())
    }
}

impl From<&str> for Name {
    fn from(text: &str) -> Name {
        Name::from(text.as_bytes())
    }
}

impl Borrow<[u8]> for Name {
    fn borrow(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from_utf8_lossy(&self.0))
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", String::from_utf8_lossy(&self.0))
    }
}
