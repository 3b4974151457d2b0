//! The hot methods of class basic, and content: borrowed decoding, direct encoding.
//!
//! Everything else goes through `method`, which uses `amq-protocol`.

use super::cursor::{Cursor, Malformed};
use super::frame::FRAME_END;
use super::properties::PropertyParts;
use crate::limits::FRAME_OVERHEAD;

pub const CLASS_BASIC: u16 = 60;
pub const METHOD_QOS: u16 = 10;
pub const METHOD_CONSUME: u16 = 20;
pub const METHOD_PUBLISH: u16 = 40;
pub const METHOD_RETURN: u16 = 50;
pub const METHOD_DELIVER: u16 = 60;
pub const METHOD_GET: u16 = 70;
pub const METHOD_GET_OK: u16 = 71;
pub const METHOD_ACK: u16 = 80;
pub const METHOD_REJECT: u16 = 90;
pub const METHOD_NACK: u16 = 120;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Publish<'a> {
    pub exchange: &'a [u8],
    pub routing_key: &'a [u8],
    pub mandatory: bool,
    pub immediate: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deliver<'a> {
    pub consumer_tag: &'a [u8],
    pub delivery_tag: u64,
    pub redelivered: bool,
    pub exchange: &'a [u8],
    pub routing_key: &'a [u8],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GetOk<'a> {
    pub delivery_tag: u64,
    pub redelivered: bool,
    pub exchange: &'a [u8],
    pub routing_key: &'a [u8],
    pub message_count: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Return<'a> {
    pub reply_code: u16,
    pub reply_text: &'a [u8],
    pub exchange: &'a [u8],
    pub routing_key: &'a [u8],
}

/// A method of class basic that is decoded without `amq-protocol`, in either direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HotMethod<'a> {
    Publish(Publish<'a>),
    Deliver(Deliver<'a>),
    Return(Return<'a>),
    GetOk(GetOk<'a>),
    Ack {
        delivery_tag: u64,
        multiple: bool,
    },
    Nack {
        delivery_tag: u64,
        multiple: bool,
        requeue: bool,
    },
    Reject {
        delivery_tag: u64,
        requeue: bool,
    },
}

/// The payload of a content header frame: class (always basic), weight 0, body length, properties.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ContentHeader<'a> {
    pub body_len: u64,
    /// Property flags and property list, verbatim and not yet walked.
    pub properties: &'a [u8],
}

/// The (class, method) ids at the front of a method payload.
#[inline]
pub fn method_ids(payload: &[u8]) -> Result<(u16, u16), Malformed> {
    let mut cursor = Cursor::new(payload);
    Ok((cursor.take_u16()?, cursor.take_u16()?))
}

/// Decodes a method payload if it is one of [`HotMethod`]; `None` if it is any other method.
/// Octets left over after the last argument are malformed.
#[inline]
pub fn decode_hot(payload: &[u8]) -> Result<Option<HotMethod<'_>>, Malformed> {
    let mut cursor = Cursor::new(payload);
    let (class_id, method_id) = (cursor.take_u16()?, cursor.take_u16()?);
    if class_id != CLASS_BASIC {
        return Ok(None);
    }
    let method = match method_id {
        METHOD_PUBLISH => HotMethod::Publish(decode_publish(&mut cursor)?),
        METHOD_ACK => {
            let (delivery_tag, bits) = decode_settlement(&mut cursor)?;
            HotMethod::Ack {
                delivery_tag,
                multiple: bits & 1 != 0,
            }
        }
        METHOD_DELIVER => HotMethod::Deliver(decode_deliver(&mut cursor)?),
        METHOD_NACK => {
            let (delivery_tag, bits) = decode_settlement(&mut cursor)?;
            HotMethod::Nack {
                delivery_tag,
                multiple: bits & 1 != 0,
                requeue: bits & 2 != 0,
            }
        }
        METHOD_REJECT => {
            let (delivery_tag, bits) = decode_settlement(&mut cursor)?;
            HotMethod::Reject {
                delivery_tag,
                requeue: bits & 1 != 0,
            }
        }
        METHOD_GET_OK => HotMethod::GetOk(decode_get_ok(&mut cursor)?),
        METHOD_RETURN => HotMethod::Return(decode_return(&mut cursor)?),
        _ => return Ok(None),
    };
    cursor.finish()?;
    Ok(Some(method))
}

#[inline]
fn decode_publish<'a>(cursor: &mut Cursor<'a>) -> Result<Publish<'a>, Malformed> {
    let _reserved = cursor.take_u16()?;
    let exchange = cursor.take_short_string()?;
    let routing_key = cursor.take_short_string()?;
    let bits = cursor.take_u8()?;
    Ok(Publish {
        exchange,
        routing_key,
        mandatory: bits & 1 != 0,
        immediate: bits & 2 != 0,
    })
}

/// The arguments that ack, nack and reject share: the tag, then bits.
#[inline]
fn decode_settlement(cursor: &mut Cursor<'_>) -> Result<(u64, u8), Malformed> {
    Ok((cursor.take_u64()?, cursor.take_u8()?))
}

#[inline]
fn decode_deliver<'a>(cursor: &mut Cursor<'a>) -> Result<Deliver<'a>, Malformed> {
    Ok(Deliver {
        consumer_tag: cursor.take_short_string()?,
        delivery_tag: cursor.take_u64()?,
        redelivered: cursor.take_u8()? & 1 != 0,
        exchange: cursor.take_short_string()?,
        routing_key: cursor.take_short_string()?,
    })
}

fn decode_get_ok<'a>(cursor: &mut Cursor<'a>) -> Result<GetOk<'a>, Malformed> {
    Ok(GetOk {
        delivery_tag: cursor.take_u64()?,
        redelivered: cursor.take_u8()? & 1 != 0,
        exchange: cursor.take_short_string()?,
        routing_key: cursor.take_short_string()?,
        message_count: cursor.take_u32()?,
    })
}

fn decode_return<'a>(cursor: &mut Cursor<'a>) -> Result<Return<'a>, Malformed> {
    Ok(Return {
        reply_code: cursor.take_u16()?,
        reply_text: cursor.take_short_string()?,
        exchange: cursor.take_short_string()?,
        routing_key: cursor.take_short_string()?,
    })
}

/// Errors: too short, or weight other than 0. Returns (class id, header) so that the caller can
/// refuse other classes with its own code.
#[inline]
pub fn decode_content_header(payload: &[u8]) -> Result<(u16, ContentHeader<'_>), Malformed> {
    let mut cursor = Cursor::new(payload);
    let (class_id, weight) = (cursor.take_u16()?, cursor.take_u16()?);
    let body_len = cursor.take_u64()?;
    if weight != 0 {
        return Err(Malformed);
    }
    let properties = cursor.rest();
    Ok((
        class_id,
        ContentHeader {
            body_len,
            properties,
        },
    ))
}

/// One whole method frame. Short strings over 255 octets cannot occur: the caller's names come
/// from decoded short strings (asserted).
#[inline]
pub fn encode_hot(out: &mut Vec<u8>, channel: u16, method: &HotMethod<'_>) {
    match *method {
        HotMethod::Deliver(ref deliver) => encode_deliver(out, channel, deliver),
        HotMethod::Publish(ref publish) => encode_publish(out, channel, publish),
        HotMethod::GetOk(ref get_ok) => encode_get_ok(out, channel, get_ok),
        HotMethod::Return(ref returned) => encode_return(out, channel, returned),
        HotMethod::Ack {
            delivery_tag,
            multiple,
        } => {
            encode_settlement(out, channel, METHOD_ACK, delivery_tag, u8::from(multiple));
        }
        HotMethod::Nack {
            delivery_tag,
            multiple,
            requeue,
        } => {
            let bits = u8::from(multiple) | u8::from(requeue) << 1;
            encode_settlement(out, channel, METHOD_NACK, delivery_tag, bits);
        }
        HotMethod::Reject {
            delivery_tag,
            requeue,
        } => {
            encode_settlement(out, channel, METHOD_REJECT, delivery_tag, u8::from(requeue));
        }
    }
}

// Fixed octets between two strings are gathered on the stack and appended at once: each append
// is a bounds check and a copy, and a delivery should cost as few of them as it has strings.

#[inline]
fn encode_deliver(out: &mut Vec<u8>, channel: u16, deliver: &Deliver<'_>) {
    let (tag, exchange, key) = (deliver.consumer_tag, deliver.exchange, deliver.routing_key);
    let payload_len = 4 + 1 + tag.len() + 8 + 1 + 1 + exchange.len() + 1 + key.len();
    begin_method(out, channel, METHOD_DELIVER, payload_len);
    push_short_string(out, tag);
    let mut middle = [0; 10];
    middle[..8].copy_from_slice(&deliver.delivery_tag.to_be_bytes());
    middle[8] = u8::from(deliver.redelivered);
    middle[9] = short_len(exchange);
    out.extend_from_slice(&middle);
    out.extend_from_slice(exchange);
    push_short_string(out, key);
    out.push(FRAME_END);
}

#[inline]
fn encode_publish(out: &mut Vec<u8>, channel: u16, publish: &Publish<'_>) {
    let (exchange, key) = (publish.exchange, publish.routing_key);
    let payload_len = 4 + 2 + 1 + exchange.len() + 1 + key.len() + 1;
    begin_method(out, channel, METHOD_PUBLISH, payload_len);
    out.extend_from_slice(&[0, 0, short_len(exchange)]);
    out.extend_from_slice(exchange);
    push_short_string(out, key);
    let bits = u8::from(publish.mandatory) | u8::from(publish.immediate) << 1;
    out.extend_from_slice(&[bits, FRAME_END]);
}

fn encode_get_ok(out: &mut Vec<u8>, channel: u16, get_ok: &GetOk<'_>) {
    let (exchange, key) = (get_ok.exchange, get_ok.routing_key);
    let payload_len = 4 + 8 + 1 + 1 + exchange.len() + 1 + key.len() + 4;
    begin_method(out, channel, METHOD_GET_OK, payload_len);
    out.extend_from_slice(&get_ok.delivery_tag.to_be_bytes());
    out.push(u8::from(get_ok.redelivered));
    push_short_string(out, exchange);
    push_short_string(out, key);
    out.extend_from_slice(&get_ok.message_count.to_be_bytes());
    out.push(FRAME_END);
}

fn encode_return(out: &mut Vec<u8>, channel: u16, returned: &Return<'_>) {
    let (text, exchange, key) = (returned.reply_text, returned.exchange, returned.routing_key);
    let payload_len = 4 + 2 + 1 + text.len() + 1 + exchange.len() + 1 + key.len();
    begin_method(out, channel, METHOD_RETURN, payload_len);
    out.extend_from_slice(&returned.reply_code.to_be_bytes());
    push_short_string(out, text);
    push_short_string(out, exchange);
    push_short_string(out, key);
    out.push(FRAME_END);
}

#[inline]
fn encode_settlement(out: &mut Vec<u8>, channel: u16, method_id: u16, tag: u64, bits: u8) {
    begin_method(out, channel, method_id, 4 + 8 + 1);
    let mut arguments = [0; 10];
    arguments[..8].copy_from_slice(&tag.to_be_bytes());
    arguments[8] = bits;
    arguments[9] = FRAME_END;
    out.extend_from_slice(&arguments);
}

/// Frame head and method ids, with room made for the whole frame.
#[inline]
fn begin_method(out: &mut Vec<u8>, channel: u16, method_id: u16, payload_len: usize) {
    out.reserve(payload_len + FRAME_OVERHEAD as usize);
    let mut head = [0; 11];
    head[..7].copy_from_slice(&frame_head(1, channel, payload_len));
    head[7..9].copy_from_slice(&CLASS_BASIC.to_be_bytes());
    head[9..].copy_from_slice(&method_id.to_be_bytes());
    out.extend_from_slice(&head);
}

#[inline]
fn frame_head(kind: u8, channel: u16, payload_len: usize) -> [u8; 7] {
    let payload_len = u32::try_from(payload_len).expect("what we send is far below 4 GiB");
    let ([c0, c1], [l0, l1, l2, l3]) = (channel.to_be_bytes(), payload_len.to_be_bytes());
    [kind, c0, c1, l0, l1, l2, l3]
}

#[inline]
fn short_len(text: &[u8]) -> u8 {
    u8::try_from(text.len()).expect("a short string: it was decoded from one or is ours")
}

#[inline]
fn push_short_string(out: &mut Vec<u8>, text: &[u8]) {
    out.push(short_len(text));
    out.extend_from_slice(text);
}

/// One content header frame and the body frames, none of these longer than `frame_max` octets
/// (overhead included). A zero-length body has no body frame.
///
/// A header frame cannot be split: whether the properties fit the receiver's frame-max is for
/// the caller to decide.
#[inline]
pub fn encode_content(
    out: &mut Vec<u8>,
    channel: u16,
    properties: PropertyParts<'_>,
    body: &[u8],
    frame_max: u32,
) {
    let chunk_len_max = chunk_len_max(frame_max);
    let payload_len = 2 + 2 + 8 + properties.len();
    let body_frames = body.len().div_ceil(chunk_len_max);
    out.reserve(payload_len + body.len() + (1 + body_frames) * FRAME_OVERHEAD as usize);

    let mut head = [0; 19];
    head[..7].copy_from_slice(&frame_head(2, channel, payload_len));
    head[7..9].copy_from_slice(&CLASS_BASIC.to_be_bytes());
    head[11..].copy_from_slice(&(body.len() as u64).to_be_bytes());
    out.extend_from_slice(&head);
    for part in properties.0 {
        out.extend_from_slice(part);
    }
    for chunk in body.chunks(chunk_len_max) {
        // The end of the frame before and the head of this one, in one append.
        let [h0, h1, h2, h3, h4, h5, h6] = frame_head(3, channel, chunk.len());
        out.extend_from_slice(&[FRAME_END, h0, h1, h2, h3, h4, h5, h6]);
        out.extend_from_slice(chunk);
    }
    out.push(FRAME_END);
}

fn chunk_len_max(frame_max: u32) -> usize {
    assert!(frame_max > FRAME_OVERHEAD);
    (frame_max - FRAME_OVERHEAD) as usize
}

/// The header frame alone, for a body that is sent from where it lies.
pub fn encode_content_header(
    out: &mut Vec<u8>,
    channel: u16,
    properties: PropertyParts<'_>,
    body_len: usize,
) {
    let payload_len = 2 + 2 + 8 + properties.len();
    out.extend_from_slice(&frame_head(2, channel, payload_len));
    out.extend_from_slice(&CLASS_BASIC.to_be_bytes());
    out.extend_from_slice(&[0; 2]);
    out.extend_from_slice(&(body_len as u64).to_be_bytes());
    for part in properties.0 {
        out.extend_from_slice(part);
    }
    out.push(FRAME_END);
}

/// The payloads of the body frames.
pub fn body_chunks(body: &[u8], frame_max: u32) -> impl Iterator<Item = &[u8]> {
    body.chunks(chunk_len_max(frame_max))
}

/// What stands before the payload of a body frame; `FRAME_END` stands behind it.
pub fn encode_body_head(out: &mut Vec<u8>, channel: u16, payload_len: usize) {
    out.extend_from_slice(&frame_head(3, channel, payload_len));
}

pub fn encode_heartbeat(out: &mut Vec<u8>) {
    out.extend_from_slice(&[8, 0, 0, 0, 0, 0, 0, FRAME_END]);
}

#[cfg(test)]
mod tests {
    use super::*;

    const PUBLISH: &[u8] = b"\x00\x3c\x00\x28\x00\x00\x02ex\x03key\x01";
    const DELIVER: &[u8] = b"\x00\x3c\x00\x3c\x01t\x00\x00\x00\x00\x00\x00\x00\x07\x01\x00\x02rk";

    #[test]
    fn publish_is_decoded_in_place() {
        let publish = Publish {
            exchange: b"ex",
            routing_key: b"key",
            mandatory: true,
            immediate: false,
        };
        assert_eq!(decode_hot(PUBLISH), Ok(Some(HotMethod::Publish(publish))));
        assert_eq!(method_ids(PUBLISH), Ok((60, 40)));
    }

    #[test]
    fn settlements_read_their_bits_from_the_lowest() {
        let nack = b"\x00\x3c\x00\x78\x00\x00\x00\x00\x00\x00\x01\x00\x02";
        let expected = HotMethod::Nack {
            delivery_tag: 256,
            multiple: false,
            requeue: true,
        };
        assert_eq!(decode_hot(nack), Ok(Some(expected)));
        let ack = b"\x00\x3c\x00\x50\x00\x00\x00\x00\x00\x00\x00\x00\x01";
        let expected = HotMethod::Ack {
            delivery_tag: 0,
            multiple: true,
        };
        assert_eq!(decode_hot(ack), Ok(Some(expected)));
    }

    #[test]
    fn methods_of_other_classes_and_cold_ones_are_left_alone() {
        assert_eq!(decode_hot(b"\x00\x0a\x00\x28"), Ok(None));
        assert_eq!(decode_hot(b"\x00\x3c\x00\x0a"), Ok(None));
        assert_eq!(decode_hot(b"\x00\x3c\xff\xff"), Ok(None));
    }

    #[test]
    fn a_method_cut_short_or_with_octets_to_spare_is_malformed() {
        for whole in [PUBLISH, DELIVER] {
            for len in 0..whole.len() {
                assert_eq!(decode_hot(&whole[..len]), Err(Malformed), "{len} octets");
            }
            assert_eq!(decode_hot(&[whole, b"\x00"].concat()), Err(Malformed));
        }
    }

    #[test]
    fn deliver_is_encoded_as_one_frame() {
        let deliver = Deliver {
            consumer_tag: b"t",
            delivery_tag: 7,
            redelivered: true,
            exchange: b"",
            routing_key: b"rk",
        };
        let mut out = b"before".to_vec();
        encode_hot(&mut out, 0x0203, &HotMethod::Deliver(deliver));
        let expected = [b"before\x01\x02\x03\x00\x00\x00\x13", DELIVER, b"\xce"].concat();
        assert_eq!(out, expected);
    }

    #[test]
    #[should_panic(expected = "a short string")]
    fn a_name_over_255_octets_never_reaches_the_wire() {
        let publish = Publish {
            exchange: &[b'x'; 256],
            routing_key: b"",
            mandatory: false,
            immediate: false,
        };
        encode_hot(&mut Vec::new(), 1, &HotMethod::Publish(publish));
    }

    #[test]
    fn a_content_header_gives_class_length_and_untouched_properties() {
        let payload = b"\x00\x3c\x00\x00\x00\x00\x00\x00\x00\x00\x00\x05\x10\x00\x02";
        let header = ContentHeader {
            body_len: 5,
            properties: b"\x10\x00\x02",
        };
        assert_eq!(decode_content_header(payload), Ok((60, header)));
    }

    #[test]
    fn a_content_header_with_weight_or_cut_short_is_malformed() {
        let weight = b"\x00\x3c\x00\x01\x00\x00\x00\x00\x00\x00\x00\x05\x00\x00";
        assert_eq!(decode_content_header(weight), Err(Malformed));
        let cut = b"\x00\x3c\x00\x00\x00\x00\x00\x00\x00\x00\x00";
        assert_eq!(decode_content_header(cut), Err(Malformed));
    }

    #[test]
    fn content_is_a_header_frame_and_its_body_in_chunks() {
        let mut out = Vec::new();
        let properties = PropertyParts([b"\x10", b"\x00", b"\x02"]);
        encode_content(&mut out, 1, properties, b"hello", 8 + 3);
        let expected = [
            &b"\x02\x00\x01\x00\x00\x00\x0f\x00\x3c\x00\x00"[..],
            b"\x00\x00\x00\x00\x00\x00\x00\x05\x10\x00\x02\xce",
            b"\x03\x00\x01\x00\x00\x00\x03hel\xce",
            b"\x03\x00\x01\x00\x00\x00\x02lo\xce",
        ];
        assert_eq!(out, expected.concat());
    }

    #[test]
    fn an_empty_body_has_no_body_frame() {
        let mut out = Vec::new();
        encode_content(
            &mut out,
            1,
            PropertyParts([b"\x00\x00", b"", b""]),
            b"",
            4096,
        );
        let expected = [
            &b"\x02\x00\x01\x00\x00\x00\x0e\x00\x3c\x00\x00"[..],
            b"\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\xce",
        ];
        assert_eq!(out, expected.concat());
    }

    #[test]
    fn encoding_reserves_what_it_writes() {
        let mut out = Vec::new();
        encode_content(
            &mut out,
            1,
            PropertyParts([b"\x00\x00", b"", b""]),
            &[0; 100],
            8 + 30,
        );
        assert!(
            out.capacity() < out.len() + 32,
            "{} for {}",
            out.capacity(),
            out.len()
        );
    }

    #[test]
    fn a_heartbeat_is_eight_octets_on_channel_zero() {
        let mut out = Vec::new();
        encode_heartbeat(&mut out);
        assert_eq!(out, b"\x08\x00\x00\x00\x00\x00\x00\xce");
    }
}
