//! Frames out of bytes and into bytes, for tests that look at either side of a connection.

use super::native::Cipher;
use bytes::Bytes;
use std::rc::Rc;
use wasmount_ceph::msgr::frame::{Assembled, Frame, FrameError, FrameReader, FrameWriter, Limits, Read, Tag};
use wasmount_ceph::msgr::{Aead, Arrived, Chunk, Message, MessageHeader, Want};

/// Bytes of a banner with its features.
pub const BANNER_LEN: usize = 26;

/// A side of a connection that reads and writes whole frames.
pub struct Side {
    pub reader: FrameReader<Bytes, Cipher>,
    pub writer: FrameWriter<Cipher>,
    pub cipher: Option<Rc<Cipher>>,
}

impl Side {
    pub fn new() -> Self {
        Self::with_limits(Limits::default())
    }

    pub fn with_limits(limits: Limits) -> Self {
        let mut reader = FrameReader::new(limits);
        reader.messages_begin();
        Self { reader, writer: FrameWriter::default(), cipher: None }
    }

    /// Both directions in secure mode.
    pub fn secure(&mut self, cipher: Rc<Cipher>, reads: [u8; 12], writes: [u8; 12]) {
        self.reader.secure(Rc::clone(&cipher), reads);
        self.writer.secure(Rc::clone(&cipher), writes);
        self.cipher = Some(cipher);
    }

    /// The first frame of `stream`, which is cut off it; `None` if it is not all there.
    pub fn read(&mut self, stream: &mut Bytes) -> Result<Option<Frame<Bytes>>, FrameError> {
        loop {
            let (Want::Bytes(length) | Want::Payload(length)) = self.reader.want();
            if (length as usize) > stream.len() {
                return Ok(None);
            }
            let piece = stream.split_to(length as usize);
            let arrived = match self.reader.want() {
                Want::Bytes(_) => Arrived::Bytes(piece.to_vec()),
                Want::Payload(_) => Arrived::Payload(piece),
            };
            match self.reader.received(arrived)? {
                None => {}
                Some(Read::Frame(frame)) => return Ok(Some(frame)),
                Some(Read::Sealed(sealed)) => {
                    let cipher = self.cipher.as_ref().expect("only secure mode has sealed frames");
                    let plain = cipher
                        .open(&sealed.nonce, &sealed.sealed)
                        .ok_or(FrameError::Unauthentic { what: "a message" })?;
                    return sealed.opened(&Bytes::from(plain)).map(Some);
                }
            }
        }
    }

    /// The bytes of a frame that is not a message.
    pub fn control(&mut self, tag: Tag, payload: &[u8]) -> Vec<u8> {
        self.writer.control(tag, payload).unwrap()
    }

    /// The bytes of a message.
    pub fn message(&mut self, header: &MessageHeader, message: Message<Bytes>) -> Vec<u8> {
        match self.writer.message(header, message).unwrap() {
            Assembled::Ready(chunks) => join(&chunks),
            Assembled::Sealing { mut before, nonce, plain } => {
                let cipher = self.cipher.as_ref().expect("only secure mode seals");
                before.append(&mut cipher.seal(&nonce, &join(&plain)).unwrap());
                before
            }
        }
    }

    /// The bytes of a frame as it was read.
    pub fn again(&mut self, frame: &Frame<Bytes>) -> Vec<u8> {
        if frame.tag != Tag::Message {
            return self.control(frame.tag, &frame.head);
        }
        let header = MessageHeader::decode(&frame.head).unwrap();
        let message = Message {
            sequence: header.sequence,
            tid: header.tid,
            priority: header.priority,
            data_offset: header.data_offset,
            middle: frame.middle.clone(),
            data: frame.data.iter().cloned().map(Chunk::Payload).collect(),
            ..Message::new(header.kind, header.version, header.compat, frame.front.clone())
        };
        self.message(&header, message)
    }
}

/// All bytes of some pieces.
pub fn join(chunks: &[Chunk<Bytes>]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for chunk in chunks {
        match chunk {
            Chunk::Bytes(part) => bytes.extend_from_slice(part),
            Chunk::Payload(part) => bytes.extend_from_slice(part),
        }
    }
    bytes
}
