//! Reading frames.

use super::{
    CRC_EPILOGUE_LEN, CRC_LEN, FrameError, Limits, PREAMBLE_LEN, Preamble, SEALED_PREAMBLE_LEN,
    SECURE_EPILOGUE_LEN, Segment, Tag, check_status, padded, read_crc,
};
use crate::msgr::aead::{Aead, NONCE_LEN, Nonces, TAG_LEN};
use crate::msgr::message::{Arrived, WANT_BYTES_MAX, Want};
use crate::payload::{Payload, crc32c};
use std::rc::Rc;

/// Longest sealed text without data that is decrypted at once. What is longer goes to the driver, so that no call takes long.
const OPEN_AT_ONCE_MAX: usize = 64 << 10;

/// A frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame<P> {
    /// What it is.
    pub tag: Tag,
    /// Its first segment.
    pub head: Vec<u8>,
    /// The front of a message.
    pub front: Vec<u8>,
    /// The middle of a message.
    pub middle: Vec<u8>,
    /// The data of a message.
    pub data: Option<P>,
}

/// A frame whose rest the driver has to decrypt.
#[derive(Debug)]
pub struct Sealed<P> {
    preamble: Preamble,
    head: Vec<u8>,
    /// The nonce of the rest.
    pub nonce: [u8; NONCE_LEN],
    /// The rest.
    pub sealed: P,
}

impl<P: Payload> Sealed<P> {
    /// The frame, given its decrypted rest.
    ///
    /// # Errors
    /// The rest is not as long as it must be, or its status is not that of a complete frame.
    pub fn opened(self, plain: &P) -> Result<Frame<P>, FrameError> {
        let Self { preamble, head, .. } = self;
        let [front, middle, data] =
            [Segment::Front, Segment::Middle, Segment::Data].map(|s| preamble.length(s));
        let middle_at = padded(front);
        let data_at = middle_at + padded(middle);
        let status_at = data_at + padded(data);
        let cut = |plain: &P| {
            (plain.len() == status_at + SECURE_EPILOGUE_LEN).then_some(())?;
            let status = *plain.copy_out(status_at, 1)?.first()?;
            let data = if data > 0 { Some(plain.slice(data_at, data)?) } else { None };
            Some((status, plain.copy_out(0, front)?, plain.copy_out(middle_at, middle)?, data))
        };
        let Some((status, front, middle, data)) = cut(plain) else {
            return Err(FrameError::Driver {
                got: format!("{} decrypted bytes", plain.len()),
                wanted: format!("{} bytes", status_at + SECURE_EPILOGUE_LEN),
            });
        };
        check_status(status)?;
        Ok(Frame { tag: preamble.tag, head, front, middle, data })
    }
}

/// What became of what was read.
#[derive(Debug)]
pub enum Read<P> {
    /// A frame, whole and checked.
    Frame(Frame<P>),
    /// A frame that is not decrypted yet.
    Sealed(Sealed<P>),
}

/// Reads frames: says what it wants, takes exactly that, and gives a frame whenever one is complete.
#[derive(Debug)]
pub struct FrameReader<P, C> {
    limits: Limits,
    cipher: Option<Opener<C>>,
    /// Whether messages are in place.
    messages: bool,
    stage: Stage<P>,
    /// What has arrived of the bytes that the stage needs.
    bytes: Vec<u8>,
}

#[derive(Debug)]
enum Stage<P> {
    Preamble,
    /// Secure mode: what of the first segment is not in the preamble.
    Head {
        preamble: Preamble,
        inline: Vec<u8>,
        need: usize,
    },
    /// Crc mode: all segments but data, and the epilogue if there are no data.
    Bytes {
        preamble: Preamble,
        need: usize,
    },
    /// Crc mode.
    Data {
        preamble: Preamble,
        head: Vec<u8>,
        front: Vec<u8>,
        middle: Vec<u8>,
    },
    /// Crc mode, after data.
    Epilogue {
        preamble: Preamble,
        head: Vec<u8>,
        front: Vec<u8>,
        middle: Vec<u8>,
        data: P,
    },
    /// Secure mode: everything after the first segment, small enough to be decrypted at once.
    Rest {
        preamble: Preamble,
        head: Vec<u8>,
        need: usize,
    },
    /// Secure mode: the same, for the driver.
    SealedRest {
        preamble: Preamble,
        head: Vec<u8>,
        need: u32,
    },
}

struct Opener<C> {
    cipher: Rc<C>,
    nonces: Nonces,
}

impl<C> std::fmt::Debug for Opener<C> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Opener")
    }
}

impl<C: Aead> Opener<C> {
    fn open(&mut self, what: &'static str, sealed: &[u8]) -> Result<Vec<u8>, FrameError> {
        let plain = self.cipher.open(&self.nonces.take(), sealed).ok_or(FrameError::Unauthentic { what })?;
        let wanted = sealed.len().saturating_sub(TAG_LEN);
        if plain.len() == wanted { Ok(plain) } else { Err(driver(plain.len(), wanted)) }
    }
}

fn driver(got: usize, wanted: usize) -> FrameError {
    FrameError::Driver { got: format!("{got} bytes"), wanted: format!("{wanted} bytes") }
}

impl<P: Payload, C: Aead> FrameReader<P, C> {
    /// A reader in crc mode.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self { limits, cipher: None, messages: false, stage: Stage::Preamble, bytes: Vec::new() }
    }

    /// Goes over to secure mode with the next frame. `nonce` is where the sender's nonces begin.
    pub fn secure(&mut self, cipher: Rc<C>, nonce: [u8; NONCE_LEN]) {
        self.cipher = Some(Opener { cipher, nonces: Nonces::from(nonce) });
    }

    /// From now on there may be messages. Before, one is an error as soon as its preamble is read: nobody who has not proved who
    /// he is makes this side take memory for one.
    pub fn messages_begin(&mut self) {
        self.messages = true;
    }

    /// What it wants next.
    #[must_use]
    pub fn want(&self) -> Want {
        let need = match &self.stage {
            Stage::Data { preamble, .. } => return Want::Payload(preamble.length(Segment::Data) as u32),
            Stage::SealedRest { need, .. } => return Want::Payload(*need),
            Stage::Preamble if self.cipher.is_some() => SEALED_PREAMBLE_LEN,
            Stage::Preamble => PREAMBLE_LEN,
            Stage::Head { need, .. } | Stage::Bytes { need, .. } | Stage::Rest { need, .. } => *need,
            Stage::Epilogue { .. } => CRC_EPILOGUE_LEN,
        };
        Want::Bytes((need - self.bytes.len()).min(WANT_BYTES_MAX as usize) as u32)
    }

    /// Takes what was read, which must be what [`want`](Self::want) said.
    ///
    /// # Errors
    /// This is no frame, or it is damaged. The reader is then of no further use.
    pub fn received(&mut self, arrived: Arrived<P>) -> Result<Option<Read<P>>, FrameError> {
        match (self.want(), arrived) {
            (Want::Bytes(wanted), Arrived::Bytes(mut bytes)) if bytes.len() == wanted as usize => {
                if self.bytes.is_empty() {
                    self.bytes = bytes;
                } else {
                    self.bytes.append(&mut bytes);
                }
                if self.complete() { self.bytes_arrived() } else { Ok(None) }
            }
            (Want::Payload(wanted), Arrived::Payload(payload)) if payload.len() == wanted as usize => {
                self.payload_arrived(payload)
            }
            (wanted, arrived) => Err(FrameError::Driver {
                got: match arrived {
                    Arrived::Bytes(bytes) => format!("{} bytes", bytes.len()),
                    Arrived::Payload(payload) => format!("a payload of {} bytes", payload.len()),
                },
                wanted: match wanted {
                    Want::Bytes(length) => format!("{length} bytes"),
                    Want::Payload(length) => format!("a payload of {length} bytes"),
                },
            }),
        }
    }

    /// Whether all bytes of the stage are there.
    fn complete(&self) -> bool {
        matches!(self.want(), Want::Bytes(0))
    }

    fn bytes_arrived(&mut self) -> Result<Option<Read<P>>, FrameError> {
        let bytes = std::mem::take(&mut self.bytes);
        match std::mem::replace(&mut self.stage, Stage::Preamble) {
            Stage::Preamble => self.preamble(bytes),
            Stage::Head { preamble, mut inline, .. } => {
                inline.append(&mut self.open("the first segment of a frame", &bytes)?);
                self.secure_rest(preamble, inline)
            }
            Stage::Bytes { preamble, .. } => self.crc_bytes(preamble, bytes),
            Stage::Epilogue { preamble, head, front, middle, data } => {
                let frame = Frame { tag: preamble.tag, head, front, middle, data: Some(data) };
                check_epilogue(preamble.count, &frame, &bytes)?;
                Ok(Some(Read::Frame(frame)))
            }
            Stage::Rest { preamble, head, .. } => {
                let plain = self.open("a message", &bytes)?;
                Ok(Some(Read::Frame(cut_rest(&preamble, head, plain)?)))
            }
            stage @ (Stage::Data { .. } | Stage::SealedRest { .. }) => {
                self.stage = stage;
                Err(driver(bytes.len(), 0))
            }
        }
    }

    fn payload_arrived(&mut self, payload: P) -> Result<Option<Read<P>>, FrameError> {
        match std::mem::replace(&mut self.stage, Stage::Preamble) {
            Stage::Data { preamble, head, front, middle } => {
                self.stage = Stage::Epilogue { preamble, head, front, middle, data: payload };
                Ok(None)
            }
            Stage::SealedRest { preamble, head, .. } => {
                let Some(opener) = &mut self.cipher else { return Err(driver(payload.len(), 0)) };
                let nonce = opener.nonces.take();
                Ok(Some(Read::Sealed(Sealed { preamble, head, nonce, sealed: payload })))
            }
            stage => {
                self.stage = stage;
                Err(driver(payload.len(), 0))
            }
        }
    }

    fn open(&mut self, what: &'static str, sealed: &[u8]) -> Result<Vec<u8>, FrameError> {
        match &mut self.cipher {
            Some(opener) => opener.open(what, sealed),
            None => Err(FrameError::Unauthentic { what }),
        }
    }

    fn preamble(&mut self, bytes: Vec<u8>) -> Result<Option<Read<P>>, FrameError> {
        let mut plain = if self.cipher.is_some() { self.open("a preamble", &bytes)? } else { bytes };
        let Some((block, inline)) = plain.split_first_chunk() else {
            return Err(driver(plain.len(), PREAMBLE_LEN));
        };
        let preamble = Preamble::decode(block)?;
        preamble.check(&self.limits)?;
        if preamble.tag == Tag::Message && !self.messages {
            return Err(FrameError::Early(preamble.tag));
        }
        let head = preamble.length(Segment::Head);
        if self.cipher.is_none() {
            return self.crc_begin(preamble);
        }
        let inline_len = inline.len();
        plain.drain(..PREAMBLE_LEN);
        if padded(head) > inline_len {
            let need = padded(head) - inline_len + TAG_LEN;
            self.stage = Stage::Head { preamble, inline: plain, need };
            return Ok(None);
        }
        self.secure_rest(preamble, plain)
    }

    fn crc_begin(&mut self, preamble: Preamble) -> Result<Option<Read<P>>, FrameError> {
        let [head, front, middle, data] = Segment::ALL.map(|segment| preamble.length(segment));
        let mut need = front + middle;
        if head > 0 {
            need += head + CRC_LEN;
        }
        if preamble.count > 1 && data == 0 {
            need += CRC_EPILOGUE_LEN;
        }
        if need == 0 {
            return self.crc_bytes(preamble, Vec::new());
        }
        self.stage = Stage::Bytes { preamble, need };
        Ok(None)
    }

    fn crc_bytes(&mut self, preamble: Preamble, mut bytes: Vec<u8>) -> Result<Option<Read<P>>, FrameError> {
        let [head, front, middle, data] = Segment::ALL.map(|segment| preamble.length(segment));
        let mut first = Vec::new();
        if head > 0 {
            first = bytes.drain(..head + CRC_LEN).collect();
            let announced = read_crc(&first[head..]);
            first.truncate(head);
            check_segment(preamble.tag, Segment::Head, announced, crc32c(u32::MAX, &first))?;
        }
        let epilogue = bytes.split_off(front + middle);
        let middle = bytes.split_off(front);
        if data > 0 {
            self.stage = Stage::Data { preamble, head: first, front: bytes, middle };
            return Ok(None);
        }
        let frame = Frame { tag: preamble.tag, head: first, front: bytes, middle, data: None };
        if preamble.count > 1 {
            check_epilogue(preamble.count, &frame, &epilogue)?;
        }
        Ok(Some(Read::Frame(frame)))
    }

    fn secure_rest(&mut self, preamble: Preamble, mut head: Vec<u8>) -> Result<Option<Read<P>>, FrameError> {
        head.truncate(preamble.length(Segment::Head));
        if preamble.count == 1 {
            let [front, middle] = [Vec::new(), Vec::new()];
            return Ok(Some(Read::Frame(Frame { tag: preamble.tag, head, front, middle, data: None })));
        }
        let segments = &Segment::ALL[1..];
        let need = segments.iter().map(|&segment| padded(preamble.length(segment)) as u64).sum::<u64>()
            + (SECURE_EPILOGUE_LEN + TAG_LEN) as u64;
        let data = preamble.length(Segment::Data);
        self.stage = match usize::try_from(need) {
            Ok(need) if need <= OPEN_AT_ONCE_MAX && data == 0 => Stage::Rest { preamble, head, need },
            _ => {
                let need = u32::try_from(need).map_err(|_| FrameError::TooLarge {
                    tag: preamble.tag,
                    segment: Segment::Data,
                    length: data as u64,
                    limit: u32::MAX,
                })?;
                Stage::SealedRest { preamble, head, need }
            }
        };
        Ok(None)
    }
}

fn check_segment(tag: Tag, segment: Segment, announced: u32, computed: u32) -> Result<(), FrameError> {
    if announced == computed {
        return Ok(());
    }
    Err(FrameError::SegmentCrc { tag, segment, announced, computed })
}

/// Checks the epilogue of crc mode: the CRCs of all segments but the first, then the status.
fn check_epilogue<P: Payload>(count: u8, frame: &Frame<P>, epilogue: &[u8]) -> Result<(), FrameError> {
    let Some((&status, crcs)) = epilogue.split_first() else { return Err(driver(0, CRC_EPILOGUE_LEN)) };
    let computed = [
        (Segment::Front, crc32c(u32::MAX, &frame.front)),
        (Segment::Middle, crc32c(u32::MAX, &frame.middle)),
        (Segment::Data, frame.data.as_ref().map_or(u32::MAX, |data| data.crc32c(u32::MAX))),
    ];
    // What stands there for segments that were left out says nothing.
    let present = usize::from(count).saturating_sub(1);
    for ((segment, computed), announced) in computed.into_iter().zip(crcs.chunks(CRC_LEN)).take(present) {
        check_segment(frame.tag, segment, read_crc(announced), computed)?;
    }
    check_status(status)
}

/// The frame, given its decrypted rest without data.
fn cut_rest<P>(preamble: &Preamble, head: Vec<u8>, mut plain: Vec<u8>) -> Result<Frame<P>, FrameError> {
    let [front, middle] = [Segment::Front, Segment::Middle].map(|segment| preamble.length(segment));
    let epilogue = plain.split_off(padded(front) + padded(middle));
    let mut second = plain.split_off(padded(front));
    plain.truncate(front);
    second.truncate(middle);
    check_status(epilogue.first().copied().unwrap_or_default())?;
    Ok(Frame { tag: preamble.tag, head, front: plain, middle: second, data: None })
}
