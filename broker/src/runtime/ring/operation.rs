//! What a completion belongs to, packed into the 64 bits that the kernel carries for us: four
//! bits of kind, then the payload.

use std::os::fd::RawFd;

const KIND_SHIFT: u32 = 60;
const DOORBELL_SHIFT: u32 = 32;
const DOORBELL_MAX: u64 = (1 << (KIND_SHIFT - DOORBELL_SHIFT)) - 1;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operation {
    Accept {
        token: u32,
    },
    Receive {
        token: u32,
    },
    Watch {
        token: u32,
    },
    /// `key` finds the buffer among the ring's sends.
    Send {
        key: u32,
    },
    Cancel,
    /// Our ringing at another ring; it completes here only if it failed.
    Ring {
        doorbell: RawFd,
        value: u32,
    },
    /// Another ring's ringing at ours.
    Rung {
        value: u32,
    },
}

impl Operation {
    pub(super) fn pack(self) -> u64 {
        let (kind, payload) = match self {
            Operation::Accept { token } => (1, u64::from(token)),
            Operation::Receive { token } => (2, u64::from(token)),
            Operation::Send { key } => (3, u64::from(key)),
            Operation::Cancel => (4, 0),
            Operation::Ring { doorbell, value } => {
                let doorbell = u64::try_from(doorbell).expect("a descriptor is not negative");
                // Linux caps descriptors well below 2^28 unless told otherwise.
                assert!(doorbell <= DOORBELL_MAX);
                (5, doorbell << DOORBELL_SHIFT | u64::from(value))
            }
            Operation::Rung { value } => (6, u64::from(value)),
            Operation::Watch { token } => (7, u64::from(token)),
        };
        kind << KIND_SHIFT | payload
    }

    pub(super) fn unpack(user_data: u64) -> Operation {
        // The low half; the truncation is the point.
        let low = user_data as u32;
        match user_data >> KIND_SHIFT {
            1 => Operation::Accept { token: low },
            2 => Operation::Receive { token: low },
            3 => Operation::Send { key: low },
            4 => Operation::Cancel,
            5 => Operation::Ring {
                doorbell: ((user_data >> DOORBELL_SHIFT) & DOORBELL_MAX) as RawFd,
                value: low,
            },
            6 => Operation::Rung { value: low },
            7 => Operation::Watch { token: low },
            kind => unreachable!("no ring of ours submits an operation of kind {kind}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_operation_survives_packing() {
        let doorbell = DOORBELL_MAX as RawFd;
        for operation in [
            Operation::Accept { token: u32::MAX },
            Operation::Receive { token: 0 },
            Operation::Receive { token: u32::MAX },
            Operation::Send { key: u32::MAX },
            Operation::Cancel,
            Operation::Ring {
                doorbell,
                value: u32::MAX,
            },
            Operation::Rung { value: 7 },
            Operation::Watch { token: u32::MAX },
        ] {
            assert_eq!(Operation::unpack(operation.pack()), operation);
        }
    }
}
