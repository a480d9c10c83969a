//! A stream of frames, each taken apart as far as it goes: `fuzz/run.sh decoder`.

#![cfg_attr(fuzzing, no_main)]

use leveret_codec::method::basic;
use leveret_codec::{ContentHeader, Decoder, Frame, Method, Properties, frame};
use leveret_codec_fuzz::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let decoder = Decoder::new(frame::MIN_SIZE);
    let mut rest = input;
    while let Ok(Some((frame, length))) = decoder.decode(rest) {
        assert!(frame::OVERHEAD <= length && length <= rest.len());
        take_apart(frame);
        rest = &rest[length..];
    }
    // Most mutations break the framing; what is in a frame should be reached all the same.
    take_apart(Frame { kind: frame::METHOD, channel: 1, payload: input });
    take_apart(Frame { kind: frame::HEADER, channel: 1, payload: input });
});

fn take_apart(frame: Frame<'_>) {
    match frame.kind {
        frame::METHOD => {
            let decoded = Method::decode(frame.payload);
            let publish = match decoded {
                Ok(Method::BasicPublish(publish)) => Some(publish),
                _ => None,
            };
            assert_eq!(basic::Publish::from_payload(frame.payload), publish);
            if let Ok(method) = decoded {
                let mut encoded = Vec::new();
                method.encode(&mut encoded);
                // Unused bits are dropped, so the octets may differ, but the method may not.
                assert_eq!(encoded.len(), frame.payload.len());
                assert_eq!(Method::decode(&encoded), Ok(method));
            }
        }
        frame::HEADER => {
            if let Some(header) = ContentHeader::decode(frame.payload) {
                properties(header.properties);
            }
        }
        _ => {}
    }
}

fn properties(bytes: &[u8]) {
    let unchecked = Properties::from_checked(bytes);
    assert_eq!(unchecked.fields().headers, unchecked.headers());
    assert_eq!(unchecked.fields().cluster_id, unchecked.cluster_id());
    if let Ok(properties) = Properties::parse(bytes) {
        let fields = properties.fields();
        let mut encoded = Vec::new();
        fields.encode(&mut encoded);
        assert_eq!(Properties::parse(&encoded).map(|again| again.fields()), Ok(fields));
    }
}
