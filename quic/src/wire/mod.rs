//! Bytes to values and back, and nothing else.
//!
//! Everything here is pure: no state of a connection, no keys, no clock. Decoding never panics, whatever the bytes;
//! it checks what can be judged from the bytes alone and leaves the rest to the owner of each frame. Numbers of the
//! wire stay `u64` until an owner has compared them with a limit. Encoding trusts its caller to have room and values
//! that fit, and asserts both. Imports `base`, `id` and `error`.

pub(crate) mod cid_bytes;
pub(crate) mod client_hello;
pub(crate) mod code_points;
pub(crate) mod cursor;
pub(crate) mod frame;
pub(crate) mod frame_ack;
pub(crate) mod frame_path;
pub(crate) mod frame_read;
pub(crate) mod header;
pub(crate) mod header_write;
pub(crate) mod packet;
pub(crate) mod params;
pub(crate) mod receipt;
pub(crate) mod varint;

#[cfg(test)]
mod tests;
