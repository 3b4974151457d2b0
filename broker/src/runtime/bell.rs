//! What a doorbell between shards says, in the 32 bits that it carries.
#![allow(unsafe_code)]

use std::os::fd::{FromRawFd, IntoRawFd, OwnedFd, RawFd};

const MAIL: u32 = 0;
const SHUTDOWN: u32 = 1;
/// Descriptors have 31 bits: the last one is free to mark them.
const CONNECTION: u32 = 1 << 31;

#[derive(Debug)]
pub(super) enum Bell {
    /// Look at the mailboxes.
    Mail,
    Shutdown,
    /// An accepted connection, which changes hands.
    Connection(OwnedFd),
}

impl Bell {
    pub(super) fn pack(self) -> u32 {
        match self {
            Bell::Mail => MAIL,
            Bell::Shutdown => SHUTDOWN,
            Bell::Connection(socket) => CONNECTION | socket.into_raw_fd().cast_unsigned(),
        }
    }

    /// Once for each value that arrived.
    pub(super) fn unpack(value: u32) -> Bell {
        match value {
            MAIL => Bell::Mail,
            SHUTDOWN => Bell::Shutdown,
            _ => {
                assert!(value & CONNECTION != 0, "no shard of ours rings {value}");
                let fd: RawFd = (value & !CONNECTION).cast_signed();
                // SAFETY: the shard that packed the value gave the descriptor away.
                Bell::Connection(unsafe { OwnedFd::from_raw_fd(fd) })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsRawFd;
    use std::os::unix::net::UnixStream;

    #[test]
    fn every_bell_survives_packing() {
        assert!(matches!(Bell::unpack(Bell::Mail.pack()), Bell::Mail));
        assert!(matches!(
            Bell::unpack(Bell::Shutdown.pack()),
            Bell::Shutdown
        ));
        let (near, _far) = UnixStream::pair().unwrap();
        let fd = near.as_raw_fd();
        match Bell::unpack(Bell::Connection(near.into()).pack()) {
            Bell::Connection(socket) => assert_eq!(socket.as_raw_fd(), fd),
            other => panic!("{other:?}"),
        }
    }
}
