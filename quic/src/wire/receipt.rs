//! What a sent packet carried, remembered until the packet is acknowledged or lost: 16 bytes a frame.
//!
//! Owns the packing of each kind of frame into a receipt. Keeps no data and no current values: on loss the room that
//! wrote the frame decides what to send now. Stream numbers are cut to 32 bits and expanded like packet numbers.

use crate::id::{Direction, PathId, StreamId};

/// Which frame a receipt is for, and so which room settles it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum ReceiptKind {
    Stream,
    Crypto,
    Ack,
    ResetStream,
    StopSending,
    MaxData,
    MaxStreamData,
    MaxStreams,
    DataBlocked,
    StreamDataBlocked,
    StreamsBlocked,
    NewConnectionId,
    RetireConnectionId,
    PathAbandon,
    PathStatus,
    MaxPathId,
    PathsBlocked,
    PathCidsBlocked,
    HandshakeDone,
    AckFrequency,
    Datagram,
}

/// One frame in a sent packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Receipt {
    kind: ReceiptKind,
    fin: bool,
    len: u16,
    id: u32,
    value: u64,
}

const _: () = assert!(size_of::<Receipt>() == 16);

impl Receipt {
    const fn bare(kind: ReceiptKind, id: u32, value: u64) -> Self {
        Self { kind, fin: false, len: 0, id, value }
    }

    const fn of_stream(kind: ReceiptKind, id: StreamId, value: u64) -> Self {
        Self::bare(kind, id.as_u64() as u32, value)
    }

    const fn of_direction(kind: ReceiptKind, direction: Direction, value: u64) -> Self {
        Self::bare(kind, matches!(direction, Direction::Unidirectional) as u32, value)
    }

    /// `len` bytes (below 2^16) of a stream from `offset` on.
    #[inline]
    pub(crate) const fn stream(id: StreamId, offset: u64, len: usize, fin: bool) -> Self {
        debug_assert!(len <= u16::MAX as usize);
        Self { fin, len: len as u16, ..Self::of_stream(ReceiptKind::Stream, id, offset) }
    }

    /// `len` bytes (below 2^16) of handshake data from `offset` on.
    #[inline]
    pub(crate) const fn crypto(offset: u64, len: usize) -> Self {
        debug_assert!(len <= u16::MAX as usize);
        Self { len: len as u16, ..Self::bare(ReceiptKind::Crypto, 0, offset) }
    }

    /// An ACK or `PATH_ACK` for `path` up to packet number `largest`.
    #[inline]
    pub(crate) const fn ack(path: PathId, largest: u64) -> Self {
        Self::bare(ReceiptKind::Ack, path.0, largest)
    }

    /// A `RESET_STREAM`.
    pub(crate) const fn reset_stream(id: StreamId) -> Self {
        Self::of_stream(ReceiptKind::ResetStream, id, 0)
    }

    /// A `STOP_SENDING`.
    pub(crate) const fn stop_sending(id: StreamId) -> Self {
        Self::of_stream(ReceiptKind::StopSending, id, 0)
    }

    /// A `MAX_DATA` that allowed `value` bytes.
    pub(crate) const fn max_data(value: u64) -> Self {
        Self::bare(ReceiptKind::MaxData, 0, value)
    }

    /// A `MAX_STREAM_DATA` that allowed `value` bytes.
    pub(crate) const fn max_stream_data(id: StreamId, value: u64) -> Self {
        Self::of_stream(ReceiptKind::MaxStreamData, id, value)
    }

    /// A `MAX_STREAMS` that allowed `value` streams.
    pub(crate) const fn max_streams(direction: Direction, value: u64) -> Self {
        Self::of_direction(ReceiptKind::MaxStreams, direction, value)
    }

    /// A `DATA_BLOCKED`.
    pub(crate) const fn data_blocked() -> Self {
        Self::bare(ReceiptKind::DataBlocked, 0, 0)
    }

    /// A `STREAM_DATA_BLOCKED`.
    pub(crate) const fn stream_data_blocked(id: StreamId) -> Self {
        Self::of_stream(ReceiptKind::StreamDataBlocked, id, 0)
    }

    /// A `STREAMS_BLOCKED`.
    pub(crate) const fn streams_blocked(direction: Direction) -> Self {
        Self::of_direction(ReceiptKind::StreamsBlocked, direction, 0)
    }

    /// A `NEW_CONNECTION_ID` or `PATH_NEW_CONNECTION_ID`.
    pub(crate) const fn new_connection_id(path: PathId, sequence: u64) -> Self {
        Self::bare(ReceiptKind::NewConnectionId, path.0, sequence)
    }

    /// A `RETIRE_CONNECTION_ID` or `PATH_RETIRE_CONNECTION_ID`.
    pub(crate) const fn retire_connection_id(path: PathId, sequence: u64) -> Self {
        Self::bare(ReceiptKind::RetireConnectionId, path.0, sequence)
    }

    /// A `PATH_ABANDON`.
    pub(crate) const fn path_abandon(path: PathId) -> Self {
        Self::bare(ReceiptKind::PathAbandon, path.0, 0)
    }

    /// A `PATH_STATUS_AVAILABLE` or `PATH_STATUS_BACKUP`.
    pub(crate) const fn path_status(path: PathId, sequence: u64) -> Self {
        Self::bare(ReceiptKind::PathStatus, path.0, sequence)
    }

    /// A `MAX_PATH_ID` that allowed paths up to `value`.
    pub(crate) const fn max_path_id(value: u64) -> Self {
        Self::bare(ReceiptKind::MaxPathId, 0, value)
    }

    /// A `PATHS_BLOCKED` at `value`.
    pub(crate) const fn paths_blocked(value: u64) -> Self {
        Self::bare(ReceiptKind::PathsBlocked, 0, value)
    }

    /// A `PATH_CIDS_BLOCKED` that asked for sequence number `value`.
    pub(crate) const fn path_cids_blocked(path: PathId, value: u64) -> Self {
        Self::bare(ReceiptKind::PathCidsBlocked, path.0, value)
    }

    /// A `HANDSHAKE_DONE`.
    pub(crate) const fn handshake_done() -> Self {
        Self::bare(ReceiptKind::HandshakeDone, 0, 0)
    }

    /// An `ACK_FREQUENCY` with this sequence number.
    pub(crate) const fn ack_frequency(sequence: u64) -> Self {
        Self::bare(ReceiptKind::AckFrequency, 0, sequence)
    }

    /// A DATAGRAM of `len` bytes (below 2^16) under our own number `id`. `report`: its fate is to be told.
    #[inline]
    pub(crate) const fn datagram(id: u64, len: usize, report: bool) -> Self {
        debug_assert!(len <= u16::MAX as usize);
        Self { fin: report, len: len as u16, ..Self::bare(ReceiptKind::Datagram, 0, id) }
    }

    /// Is its frame sent again when it is lost? Acknowledgements are always written anew, datagrams never.
    pub(crate) fn is_repeatable(&self) -> bool {
        !matches!(self.kind, ReceiptKind::Ack | ReceiptKind::Datagram)
    }

    /// Which frame it was.
    #[inline]
    pub(crate) const fn kind(&self) -> ReceiptKind {
        self.kind
    }

    /// Did the STREAM frame end its stream?
    #[inline]
    pub(crate) const fn fin(&self) -> bool {
        self.fin
    }

    /// Does the application want to know what becomes of the DATAGRAM?
    #[inline]
    pub(crate) const fn report(&self) -> bool {
        debug_assert!(matches!(self.kind, ReceiptKind::Datagram));
        self.fin
    }

    /// How many bytes of data the STREAM, CRYPTO or DATAGRAM frame carried.
    #[inline]
    pub(crate) const fn len(&self) -> u64 {
        self.len as u64
    }

    /// Where the data of the STREAM or CRYPTO frame started.
    #[inline]
    pub(crate) const fn offset(&self) -> u64 {
        debug_assert!(matches!(self.kind, ReceiptKind::Stream | ReceiptKind::Crypto));
        self.value
    }

    /// The low 32 bits of the stream's number, for the kinds that name a stream; see [`expand_stream_id`].
    #[inline]
    pub(crate) const fn stream_low(&self) -> u32 {
        self.id
    }

    /// The path, for the kinds that name one.
    #[inline]
    pub(crate) const fn path(&self) -> PathId {
        PathId(self.id)
    }

    /// The direction of a `MAX_STREAMS` or `STREAMS_BLOCKED`.
    #[inline]
    pub(crate) const fn direction(&self) -> Direction {
        if self.id == 0 { Direction::Bidirectional } else { Direction::Unidirectional }
    }

    /// The number of the frame: a limit, a sequence number, the largest packet number, a datagram's; 0 where there is
    /// none.
    #[inline]
    pub(crate) const fn value(&self) -> u64 {
        self.value
    }
}

/// The stream whose number ends in `low`: the highest one that is not above `near`, the highest number of that kind
/// opened so far. Right as long as fewer than 2^30 streams of a kind lie between.
#[inline]
pub(crate) const fn expand_stream_id(low: u32, near: u64) -> StreamId {
    let behind = (near as u32).wrapping_sub(low) as u64;
    match near.checked_sub(behind) {
        Some(number) => StreamId::from_wire(number),
        None => StreamId::from_wire(low as u64), // never opened; nobody will find it
    }
}

/// The receipts of one packet while it is written.
#[derive(Clone, Debug, Default)]
pub(crate) struct Receipts(Vec<Receipt>);

impl Receipts {
    /// Adds the receipt of a frame just written.
    #[inline]
    pub(crate) fn push(&mut self, receipt: Receipt) {
        self.0.push(receipt);
    }

    /// The receipts in the order of their frames.
    #[inline]
    pub(crate) fn iter(&self) -> std::slice::Iter<'_, Receipt> {
        self.0.iter()
    }

    /// The receipts in the order of their frames.
    #[cfg(test)]
    #[inline]
    pub(crate) fn as_slice(&self) -> &[Receipt] {
        &self.0
    }

    /// Forgets all and keeps the memory for the next packet.
    #[inline]
    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }

    /// How many there are.
    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// Is there none?
    #[cfg(test)]
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::Role;

    #[test]
    fn a_stream_receipt_keeps_all_but_the_high_bits_of_the_stream() {
        let id = StreamId::from_wire(0x12_3456_789a);
        let receipt = Receipt::stream(id, 1 << 61, 65_535, true);
        assert_eq!((receipt.kind(), receipt.fin()), (ReceiptKind::Stream, true));
        assert_eq!((receipt.offset(), receipt.len()), (1 << 61, 65_535));
        assert_eq!(expand_stream_id(receipt.stream_low(), 0x12_3456_789e), id);
    }

    #[test]
    fn a_stream_number_expands_to_the_nearest_one_behind() {
        let expand = |low, near| expand_stream_id(low, near).as_u64();
        assert_eq!(expand(8, 8), 8);
        assert_eq!(expand(0, 8), 0);
        assert_eq!(expand(0xffff_fffc, 1 << 32), 0xffff_fffc, "across a border");
        assert_eq!(expand(4, (1 << 32) + 4), (1 << 32) + 4);
        assert_eq!(expand(8, (1 << 32) + 4), 8, "almost a whole turn behind");
        assert_eq!(expand(12, 8), 12, "never opened, so it names no stream that exists");
    }

    #[test]
    fn paths_directions_and_values_come_back() {
        let receipt = Receipt::new_connection_id(PathId(u32::MAX), 7);
        assert_eq!((receipt.path(), receipt.value()), (PathId(u32::MAX), 7));
        let receipt = Receipt::max_streams(Direction::Unidirectional, 1 << 60);
        assert_eq!((receipt.direction(), receipt.value()), (Direction::Unidirectional, 1 << 60));
        assert_eq!(Receipt::streams_blocked(Direction::Bidirectional).direction(), Direction::Bidirectional);
        let id = StreamId::new(Role::Server, Direction::Bidirectional, 3);
        assert_eq!(u64::from(Receipt::stop_sending(id).stream_low()), id.as_u64());
        let receipt = Receipt::datagram(u64::MAX, 65_535, true);
        assert_eq!((receipt.value(), receipt.len(), receipt.report()), (u64::MAX, 65_535, true));
    }

    #[test]
    fn cleared_receipts_keep_their_memory() {
        let mut receipts = Receipts::default();
        (0..9).for_each(|offset| receipts.push(Receipt::crypto(offset, 1)));
        assert_eq!((receipts.len(), receipts.iter().next_back().unwrap().offset()), (9, 8));
        let capacity = receipts.0.capacity();
        receipts.clear();
        assert!(receipts.is_empty() && receipts.as_slice().is_empty());
        assert_eq!(receipts.0.capacity(), capacity);
    }
}
