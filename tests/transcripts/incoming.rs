//! From the octets of a socket to the frames of a scenario, contents put together.

use std::collections::HashMap;

use leveret_codec::decode::ContentHeader;
use leveret_codec::{Decoder, Method, Properties, frame};

use super::scenario::{Body, Frame, HeartbeatFrame, MethodFrame};
use super::wire::{method_json, properties_json};

/// Puts the frames of a socket together again.
#[derive(Default)]
pub(crate) struct Incoming {
    octets: Vec<u8>,
    /// The contents that are not complete, by channel.
    contents: HashMap<u16, Content>,
}

struct Content {
    method: MethodFrame,
    /// None until the header has come.
    size: Option<u64>,
    body: Vec<u8>,
    frames: Vec<usize>,
}

impl Incoming {
    /// Takes octets, and gives the frames that they complete.
    pub(crate) fn feed(&mut self, octets: &[u8]) -> Vec<Frame> {
        self.octets.extend_from_slice(octets);
        let mut octets = std::mem::take(&mut self.octets);
        let (mut used, mut frames) = (0, Vec::new());
        let decoder = Decoder::new(0);
        loop {
            let rest = &octets[used..];
            if let Some(protocol_header) = rest.first_chunk::<8>()
                && protocol_header.starts_with(b"AMQP")
            {
                frames.push(Frame::ProtocolHeader { protocol_header: protocol_header.to_vec() });
                used += protocol_header.len();
                continue;
            }
            match decoder.decode(rest) {
                Ok(Some((frame, length))) => {
                    frames.extend(self.frame(&frame).unwrap_or_else(|why| {
                        Some(undecodable(frame.channel, why, frame.payload))
                    }));
                    used += length;
                }
                Ok(None) => break,
                Err(error) => {
                    frames.push(undecodable(0, error.to_string(), rest));
                    used = octets.len();
                }
            }
        }
        octets.drain(..used);
        self.octets = octets;
        frames
    }

    /// What this frame completes, if anything.
    fn frame(&mut self, frame: &frame::Frame<'_>) -> Result<Option<Frame>, String> {
        let ch = frame.channel;
        match frame.kind {
            frame::METHOD => {
                let decoded = Method::decode(frame.payload).map_err(|error| error.to_string())?;
                let method = MethodFrame {
                    ch,
                    method: decoded.name().to_owned(),
                    args: method_json(&decoded),
                    ..MethodFrame::default()
                };
                if !decoded.has_content() {
                    return Ok(Some(Frame::Method(method)));
                }
                let content = Content { method, size: None, body: vec![], frames: vec![] };
                match self.contents.insert(ch, content) {
                    Some(_) => Err("a content within another one".to_owned()),
                    None => Ok(None),
                }
            }
            frame::HEADER => {
                let header = ContentHeader::decode(frame.payload).ok_or("a header that is cut")?;
                let properties =
                    Properties::parse(header.properties).map_err(|error| error.to_string())?;
                if (header.class_id, header.weight) != (frame::CONTENT_CLASS, 0) {
                    return Err("a header of another class, or with a weight".to_owned());
                }
                let content = self.contents.get_mut(&ch).filter(|content| content.size.is_none());
                let content = content.ok_or("a header out of place")?;
                content.size = Some(header.body_size);
                content.method.props = Some(properties_json(properties.fields()));
                Ok(self.complete(ch))
            }
            frame::BODY => {
                let content = self.contents.get_mut(&ch).filter(|content| content.size.is_some());
                let content = content.ok_or("a body out of place")?;
                content.body.extend_from_slice(frame.payload);
                content.frames.push(frame.payload.len());
                Ok(self.complete(ch))
            }
            frame::HEARTBEAT if frame.payload.is_empty() => {
                Ok(Some(Frame::Heartbeat(HeartbeatFrame { ch, heartbeat: true })))
            }
            kind => Err(format!("a frame of the kind {kind}")),
        }
    }

    /// The channel's content, when all of it has come.
    fn complete(&mut self, channel: u16) -> Option<Frame> {
        let complete =
            |content: &Content| content.size.is_some_and(|size| content.body.len() as u64 >= size);
        if !self.contents.get(&channel).is_some_and(complete) {
            return None;
        }
        let Content { mut method, body, frames, .. } = self.contents.remove(&channel)?;
        let by_rule = if body.is_empty() { vec![] } else { vec![body.len()] };
        method.body_frames = (frames != by_rule).then_some(frames);
        method.body = Some(Body::of(body));
        Some(Frame::Method(method))
    }
}

fn undecodable(ch: u16, why: impl Into<String>, payload: &[u8]) -> Frame {
    Frame::Undecodable { ch, undecodable: why.into(), payload: payload.to_vec() }
}
