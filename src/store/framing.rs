//! Frames: how every file of the store but one is written, and read when it is damaged.
//!
//! A file is a header and frames behind each other; see the module above for the drawing. Each
//! frame carries a key that rises through the file (a record's number, a message's position), by
//! which a reader that skipped damage finds out what is missing.
//!
//! why: the checksum starts from the store's salt, a random number that no client sees. A message
//! is a publisher's bytes, and those could look like frames; without the salt, a damaged frame
//! around them would let the reader find and believe them.

use std::io;
use std::sync::Arc;

use super::disk::{Disk, DiskRead, VERSION};

/// Length of a file's header.
pub(super) const HEADER_LENGTH: usize = 32;
/// Length and checksum: what comes before the bytes that the length counts.
const PREFIX_LENGTH: usize = 8;
pub(super) const KEY_LENGTH: usize = 8;
/// How long the shortest frame is. invariant: no payload is empty, so that zeros are no frame.
const SHORTEST_FRAME: u64 = (PREFIX_LENGTH + KEY_LENGTH + 1) as u64;
/// How much is read from a file at once.
const WINDOW_BYTES: usize = 256 * 1024;

/// What a file says about itself in its first bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) magic: [u8; 8],
    pub(super) version: u32,
    /// Two numbers whose meaning the kind of the file gives.
    pub(super) numbers: [u64; 2],
}

impl Header {
    pub(super) fn new(magic: [u8; 8], numbers: [u64; 2]) -> Self {
        Header { magic, version: VERSION, numbers }
    }

    pub(super) fn put(&self, buffer: &mut Vec<u8>) {
        let start = buffer.len();
        buffer.extend_from_slice(&self.magic);
        buffer.extend_from_slice(&self.version.to_le_bytes());
        buffer.extend_from_slice(&self.numbers[0].to_le_bytes());
        buffer.extend_from_slice(&self.numbers[1].to_le_bytes());
        let checksum = crc32fast::hash(&buffer[start..]);
        buffer.extend_from_slice(&checksum.to_le_bytes());
    }

    /// The header in these bytes if it is whole and of this kind.
    pub(super) fn parse(bytes: &[u8], magic: [u8; 8]) -> Option<Header> {
        let bytes = bytes.get(..HEADER_LENGTH)?;
        let (content, checksum) = bytes.split_at(HEADER_LENGTH - 4);
        if checksum != crc32fast::hash(content).to_le_bytes() || content[..8] != magic {
            return None;
        }
        let version = u32_at(content, 8);
        Some(Header { magic, version, numbers: [u64_at(content, 12), u64_at(content, 20)] })
    }

    /// Reads a file's header, `None` if it is not whole.
    pub(super) fn read(disk: &dyn Disk, path: &str, magic: [u8; 8]) -> io::Result<Option<Header>> {
        let mut bytes = [0; HEADER_LENGTH];
        let count = disk.read(path, 0, &mut bytes)?;
        Ok(Header::parse(&bytes[..count], magic))
    }
}

/// Adds a frame whose payload `fill` writes.
pub(super) fn put_frame(
    buffer: &mut Vec<u8>,
    salt: u32,
    key: u64,
    fill: impl FnOnce(&mut Vec<u8>),
) {
    let start = buffer.len();
    buffer.extend_from_slice(&[0; PREFIX_LENGTH]);
    buffer.extend_from_slice(&key.to_le_bytes());
    fill(buffer);
    let counted = buffer.len() - start - PREFIX_LENGTH;
    let length = u32::try_from(counted)
        .expect("invariant: the broker's limit on a message is far below 4 GiB");
    let checksum = checksum(salt, &buffer[start + PREFIX_LENGTH..]);
    buffer[start..start + 4].copy_from_slice(&length.to_le_bytes());
    buffer[start + 4..start + PREFIX_LENGTH].copy_from_slice(&checksum.to_le_bytes());
}

/// The length of a frame with a payload of so many bytes.
pub(super) fn frame_length(payload: usize) -> u64 {
    (PREFIX_LENGTH + KEY_LENGTH + payload) as u64
}

pub(super) fn checksum(salt: u32, bytes: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new_with_initial(salt);
    hasher.update(bytes);
    hasher.finalize()
}

fn u32_at(bytes: &[u8], offset: usize) -> u32 {
    let array = bytes[offset..offset + 4].try_into();
    u32::from_le_bytes(array.expect("invariant: four bytes were sliced"))
}

fn u64_at(bytes: &[u8], offset: usize) -> u64 {
    let array = bytes[offset..offset + 8].try_into();
    u64::from_le_bytes(array.expect("invariant: eight bytes were sliced"))
}

/// Which keys the frames of a file can have, given the one before.
#[derive(Clone, Copy, Debug)]
pub(super) enum Keys {
    /// Each is one more than the last. After lost bytes, as many may be missing as could have
    /// been in them.
    Counted,
    /// They rise and none is above this.
    RisingTo(u64),
}

impl Keys {
    fn allow(self, previous: Option<u64>, key: u64, skipped: u64) -> bool {
        let highest = match self {
            Keys::Counted => previous.unwrap_or(0).saturating_add(1 + skipped / SHORTEST_FRAME),
            Keys::RisingTo(highest) => highest,
        };
        previous.is_none_or(|previous| previous < key) && key <= highest
    }
}

/// What comes next in a file.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Item<'a> {
    /// A whole frame.
    Frame { key: u64, payload: &'a [u8] },
    /// Bytes that are no frame, up to the next whole one or the end of the file.
    Damage(Gap),
    /// Nothing.
    End,
}

/// A run of bytes that are no frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Gap {
    pub(super) offset: u64,
    pub(super) bytes: u64,
    pub(super) end: GapEnd,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum GapEnd {
    /// A whole frame follows.
    Frame,
    /// Nothing whole follows: a tail that was being written, or damage at the very end.
    File,
    /// The search took too long; something whole may follow.
    GivenUp,
}

/// Reads the frames of one file in order, with one window of it in memory.
pub(super) struct FrameReader {
    disk: Arc<dyn Disk>,
    path: String,
    /// The file, opened when it is first read.
    file: Option<Box<dyn DiskRead>>,
    salt: u32,
    keys: Keys,
    /// The key of the last frame, if there was one.
    previous: Option<u64>,
    /// Where reading goes on.
    offset: u64,
    /// Where the last frame began.
    last_start: u64,
    /// Where reading stops.
    end: u64,
    window: Vec<u8>,
    /// Where in the file the window begins.
    window_start: u64,
    /// How many bytes may still be checksummed in search of a frame.
    search_budget: u64,
}

impl FrameReader {
    /// Reads from behind the header to `end`; `previous` is the key before the first, if any.
    pub(super) fn new(
        disk: Arc<dyn Disk>,
        path: String,
        salt: u32,
        keys: Keys,
        previous: Option<u64>,
        end: u64,
    ) -> Self {
        FrameReader {
            disk,
            path,
            file: None,
            salt,
            keys,
            previous,
            offset: (HEADER_LENGTH as u64).min(end),
            last_start: 0,
            end,
            window: Vec::new(),
            window_start: 0,
            // why: bytes made to look like frames could make the search checksum the file once
            // for each of its bytes.
            search_budget: 64 * 1024 * 1024 + end.saturating_mul(4),
        }
    }

    /// Where the next item begins.
    pub(super) fn offset(&self) -> u64 {
        self.offset
    }

    pub(super) fn path(&self) -> &str {
        &self.path
    }

    pub(super) fn next(&mut self) -> io::Result<Item<'_>> {
        if self.offset >= self.end {
            return Ok(Item::End);
        }
        let start = self.offset;
        if let Some((length, _)) = self.whole_frame(start, 0)? {
            return Ok(self.take(start, length));
        }
        let (found, end) = self.search(start + 1)?;
        self.offset = found;
        Ok(Item::Damage(Gap { offset: start, bytes: found - start, end }))
    }

    /// Notes that the file has grown, and with it the highest of keys that only rise.
    pub(super) fn extend(&mut self, end: u64, highest: u64) {
        self.end = self.end.max(end);
        self.keys = Keys::RisingTo(highest);
    }

    /// Gives back the open file and the memory; the next read takes them again.
    pub(super) fn rest(&mut self) {
        self.file = None;
        self.window = Vec::new();
        self.window_start = 0;
    }

    /// Whether it keeps its file open.
    pub(super) fn is_open(&self) -> bool {
        self.file.is_some()
    }

    /// Makes the next item the one at `offset` again, which was a frame before; `previous` is the
    /// key before it.
    pub(super) fn go_back(&mut self, offset: u64, previous: Option<u64>) {
        self.offset = offset;
        self.previous = previous;
    }

    /// The payload of the frame that was the last item.
    pub(super) fn last_payload(&self) -> &[u8] {
        let (from, to) = (self.last_start - self.window_start, self.offset - self.window_start);
        &self.window[from as usize + PREFIX_LENGTH + KEY_LENGTH..to as usize]
    }

    /// Reads the file's header, `None` if it is not whole.
    pub(super) fn read_header(&mut self, magic: [u8; 8]) -> io::Result<Option<Header>> {
        let mut bytes = [0; HEADER_LENGTH];
        let file = self.take_file()?;
        let count = file.read(0, &mut bytes)?;
        self.file = Some(file);
        Ok(Header::parse(&bytes[..count], magic))
    }

    pub(super) fn previous(&self) -> Option<u64> {
        self.previous
    }

    fn take(&mut self, start: u64, length: u64) -> Item<'_> {
        self.offset = start + length;
        self.last_start = start;
        let from = (start - self.window_start) as usize;
        let frame = &self.window[from..from + length as usize];
        let key = u64_at(frame, PREFIX_LENGTH);
        self.previous = Some(key);
        Item::Frame { key, payload: &frame[PREFIX_LENGTH + KEY_LENGTH..] }
    }

    /// The length and key of the frame at `start` if there is a whole one, which then is in the
    /// window.
    fn whole_frame(&mut self, start: u64, skipped: u64) -> io::Result<Option<(u64, u64)>> {
        let left = self.end - start;
        if left < SHORTEST_FRAME {
            return Ok(None);
        }
        let prefix = self.bytes(start, PREFIX_LENGTH + KEY_LENGTH)?;
        if prefix.len() < PREFIX_LENGTH + KEY_LENGTH {
            return Ok(None);
        }
        let length = PREFIX_LENGTH as u64 + u64::from(u32_at(prefix, 0));
        let (expected, key) = (u32_at(prefix, 4), u64_at(prefix, PREFIX_LENGTH));
        let plausible = (SHORTEST_FRAME..=left).contains(&length);
        if !plausible || !self.keys.allow(self.previous, key, skipped) {
            return Ok(None);
        }
        if skipped > 0 {
            self.search_budget = self.search_budget.saturating_sub(length);
        }
        let salt = self.salt;
        let frame = self.bytes(start, length as usize)?;
        let whole =
            frame.len() as u64 == length && checksum(salt, &frame[PREFIX_LENGTH..]) == expected;
        Ok(whole.then_some((length, key)))
    }

    /// The first place from `from` on where a whole frame begins, or where the search ended.
    fn search(&mut self, from: u64) -> io::Result<(u64, GapEnd)> {
        let begun = from - 1;
        for start in from..self.end {
            if self.bytes(start, 1)?.is_empty() {
                // The file is shorter than it should be.
                break;
            }
            if let Some((_, key)) = self.whole_frame(start, start - begun)? {
                self.previous = key.checked_sub(1);
                return Ok((start, GapEnd::Frame));
            }
            if self.search_budget == 0 {
                return Ok((self.end, GapEnd::GivenUp));
            }
        }
        Ok((self.end, GapEnd::File))
    }

    /// So many bytes from `start`, fewer if the file is shorter than it should be.
    fn bytes(&mut self, start: u64, count: usize) -> io::Result<&[u8]> {
        let window_end = self.window_start + self.window.len() as u64;
        if start < self.window_start || start + count as u64 > window_end {
            self.move_window(start, count)?;
        }
        let from = (start - self.window_start) as usize;
        let to = (from + count).min(self.window.len());
        Ok(self.window.get(from..to).unwrap_or_default())
    }

    fn move_window(&mut self, start: u64, count: usize) -> io::Result<()> {
        let left = usize::try_from(self.end - start).unwrap_or(usize::MAX);
        let wanted = count.max(WINDOW_BYTES).min(left);
        // What is already there and still needed is kept.
        let known = start.checked_sub(self.window_start).map(|from| from as usize);
        match known {
            Some(from) if from < self.window.len() => {
                self.window.drain(..from);
            }
            _ => self.window.clear(),
        }
        // One huge frame must not hold its memory for the rest of the file.
        if self.window.capacity() > 4 * WINDOW_BYTES && wanted <= WINDOW_BYTES {
            self.window.shrink_to(WINDOW_BYTES);
        }
        self.window_start = start;
        let filled = self.window.len();
        if filled < wanted {
            self.window.resize(wanted, 0);
            let offset = start + filled as u64;
            let read = self.fill_window(filled, offset);
            self.window.truncate(filled + *read.as_ref().unwrap_or(&0));
            read?;
        }
        Ok(())
    }

    fn fill_window(&mut self, filled: usize, offset: u64) -> io::Result<usize> {
        let file = self.take_file()?;
        let count = file.read(offset, &mut self.window[filled..])?;
        self.file = Some(file);
        Ok(count)
    }

    fn take_file(&mut self) -> io::Result<Box<dyn DiskRead>> {
        self.file.take().map_or_else(|| self.disk.open_read(&self.path), Ok)
    }
}

#[cfg(test)]
mod tests {
    use super::super::disk::MemoryDisk;
    use super::*;

    const SALT: u32 = 77;

    /// A file with a header and frames of these payloads, keyed from 1, with the frames' offsets.
    fn file(payloads: &[&[u8]]) -> (Vec<u8>, Vec<usize>) {
        let mut bytes = Vec::new();
        Header::new(*b"test\0\0\0\0", [1, 2]).put(&mut bytes);
        let mut offsets = Vec::new();
        for (index, payload) in payloads.iter().enumerate() {
            offsets.push(bytes.len());
            put_frame(&mut bytes, SALT, index as u64 + 1, |out| out.extend_from_slice(payload));
        }
        (bytes, offsets)
    }

    /// The keys found, and the gaps.
    fn scan(bytes: &[u8]) -> (Vec<u64>, Vec<Gap>) {
        let disk = MemoryDisk::default();
        disk.open_append("f").unwrap().append(bytes).unwrap();
        let end = bytes.len() as u64;
        let mut reader =
            FrameReader::new(Arc::new(disk), "f".to_owned(), SALT, Keys::Counted, Some(0), end);
        let (mut keys, mut gaps) = (Vec::new(), Vec::new());
        loop {
            match reader.next().unwrap() {
                Item::Frame { key, .. } => keys.push(key),
                Item::Damage(gap) => gaps.push(gap),
                Item::End => return (keys, gaps),
            }
        }
    }

    #[test]
    fn headers_and_frames_come_back() {
        let large = vec![9; 3 * WINDOW_BYTES];
        let (bytes, offsets) = file(&[b"one", &large, b"three"]);
        let header = Header::parse(&bytes, *b"test\0\0\0\0").unwrap();
        assert_eq!((header.version, header.numbers), (VERSION, [1, 2]));
        assert_eq!(Header::parse(&bytes, *b"else\0\0\0\0"), None);
        assert_eq!(scan(&bytes), (vec![1, 2, 3], vec![]));
        assert_eq!(offsets[1] as u64, HEADER_LENGTH as u64 + frame_length(3));
    }

    #[test]
    fn a_reader_goes_on_where_it_was_when_the_file_has_grown() {
        let (bytes, offsets) = file(&[b"one", b"two", b"three"]);
        let disk = MemoryDisk::default();
        let mut grown = disk.open_append("f").unwrap();
        grown.append(&bytes[..offsets[1]]).unwrap();
        let end = offsets[1] as u64;
        let mut reader = FrameReader::new(
            Arc::new(disk.clone()),
            "f".to_owned(),
            SALT,
            Keys::RisingTo(1),
            None,
            end,
        );
        assert!(matches!(reader.next().unwrap(), Item::Frame { key: 1, .. }));
        assert_eq!(reader.next().unwrap(), Item::End);
        grown.append(&bytes[offsets[1]..]).unwrap();
        reader.extend(bytes.len() as u64, 3);
        assert!(matches!(reader.next().unwrap(), Item::Frame { key: 2, payload: b"two" }));
        reader.rest();
        assert!(matches!(reader.next().unwrap(), Item::Frame { key: 3, .. }));
        assert_eq!(reader.next().unwrap(), Item::End);
    }

    #[test]
    fn every_cut_leaves_a_tail_and_all_before_it() {
        let (bytes, offsets) = file(&[b"one", b"two", b"three"]);
        for cut in HEADER_LENGTH..bytes.len() {
            let whole = offsets[1..].iter().filter(|&&offset| offset <= cut).count();
            let (keys, gaps) = scan(&bytes[..cut]);
            assert_eq!(keys.len(), whole, "cut at {cut}");
            assert!(gaps.iter().all(|gap| gap.end == GapEnd::File), "cut at {cut}");
            assert_eq!(gaps.is_empty(), offsets.contains(&cut) || cut == HEADER_LENGTH);
        }
    }

    #[test]
    fn every_flipped_bit_costs_one_frame() {
        let (bytes, offsets) = file(&[b"one", b"two", b"three"]);
        for bit in HEADER_LENGTH * 8..bytes.len() * 8 {
            let mut damaged = bytes.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            let hit = offsets.iter().filter(|&&offset| offset <= bit / 8).count() as u64;
            let (keys, gaps) = scan(&damaged);
            assert_eq!(keys, (1..=3).filter(|&key| key != hit).collect::<Vec<_>>(), "bit {bit}");
            assert_eq!(gaps.len(), 1, "bit {bit}");
            assert_eq!(gaps[0].offset, offsets[hit as usize - 1] as u64, "bit {bit}");
            let end = if hit == 3 { GapEnd::File } else { GapEnd::Frame };
            assert_eq!(gaps[0].end, end, "bit {bit}");
        }
    }

    #[test]
    fn zeros_are_no_frames() {
        let (mut bytes, _) = file(&[b"one"]);
        let whole = bytes.len() as u64;
        bytes.resize(bytes.len() + 5000, 0);
        let gap = Gap { offset: whole, bytes: 5000, end: GapEnd::File };
        assert_eq!(scan(&bytes), (vec![1], vec![gap]));
    }

    #[test]
    fn frames_inside_a_payload_are_not_believed() {
        let mut forged = Vec::new();
        for key in 1..5 {
            put_frame(&mut forged, SALT + 1, key, |out| out.extend_from_slice(b"forged"));
        }
        let (mut bytes, offsets) = file(&[&forged, b"two"]);
        bytes[offsets[0]] ^= 0xff;
        assert_eq!(scan(&bytes).0, [2]);
    }

    #[test]
    fn the_search_is_bounded() {
        // Every 16 bytes look like the beginning of a frame that goes nearly to the end.
        let (mut bytes, _) = file(&[]);
        let size = 4 * 1024 * 1024_u32;
        for offset in (0..size).step_by(16) {
            bytes.extend_from_slice(&(size - offset).saturating_sub(64).to_le_bytes());
            bytes.extend_from_slice(&[7; 4]);
            bytes.extend_from_slice(&1_u64.to_le_bytes());
        }
        let (keys, gaps) = scan(&bytes);
        assert!(keys.is_empty());
        assert_eq!(gaps[0].end, GapEnd::GivenUp);
    }
}
