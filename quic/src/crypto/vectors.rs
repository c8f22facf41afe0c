//! The packets of RFC 9001 appendix A, and the same with paths, byte by byte.

use rustls::crypto::aws_lc_rs::cipher_suite::TLS13_CHACHA20_POLY1305_SHA256;
use rustls::crypto::cipher::{AeadKey, Iv};
use rustls::quic;

use super::TAG_LEN;
use super::fixture::{client_tls, server_tls, unhex};
use super::nonce::Ppn;
use super::protect::{self, LevelKeys, OpenError, SealError, Unmasked};
use super::provider::{HeaderKey, PacketKey};
use crate::id::PathId;

const DCID: &str = "8394c8f03e515708";

/// A.2: the header and the frames of the client's first packet, before and after protection.
const CLIENT_HEADER: &str = "c300000001088394c8f03e5157080000449e00000002";

const CLIENT_HELLO_FRAME: &str = "\
    060040f1010000ed0303ebf8fa56f12939b9584a3896472ec40bb863cfd3e86804fe3a47f06a2b69484c0000041301130201 \
    0000c000000010000e00000b6578616d706c652e636f6dff01000100000a00080006001d0017001800100007000504616c70 \
    6e000500050100000000003300260024001d00209370b2c9caa47fbabaf4559fedba753de171fa71f50f1ce15d43e994ec74 \
    d748002b0003020304000d0010000e0403050306030203080408050806002d00020101001c00024001003900320408ffffff \
    ffffffffff05048000ffff07048000ffff0801100104800075300901100f088394c8f03e51570806048000ffff";

const CLIENT_INITIAL: &str = "\
    c000000001088394c8f03e5157080000449e7b9aec34d1b1c98dd7689fb8ec11d242b123dc9bd8bab936b47d92ec356c0bab \
    7df5976d27cd449f63300099f3991c260ec4c60d17b31f8429157bb35a1282a643a8d2262cad67500cadb8e7378c8eb7539e \
    c4d4905fed1bee1fc8aafba17c750e2c7ace01e6005f80fcb7df621230c83711b39343fa028cea7f7fb5ff89eac2308249a0 \
    2252155e2347b63d58c5457afd84d05dfffdb20392844ae812154682e9cf012f9021a6f0be17ddd0c2084dce25ff9b06cde5 \
    35d0f920a2db1bf362c23e596d11a4f5a6cf3948838a3aec4e15daf8500a6ef69ec4e3feb6b1d98e610ac8b7ec3faf6ad760 \
    b7bad1db4ba3485e8a94dc250ae3fdb41ed15fb6a8e5eba0fc3dd60bc8e30c5c4287e53805db059ae0648db2f64264ed5e39 \
    be2e20d82df566da8dd5998ccabdae053060ae6c7b4378e846d29f37ed7b4ea9ec5d82e7961b7f25a9323851f681d582363a \
    a5f89937f5a67258bf63ad6f1a0b1d96dbd4faddfcefc5266ba6611722395c906556be52afe3f565636ad1b17d508b73d874 \
    3eeb524be22b3dcbc2c7468d54119c7468449a13d8e3b95811a198f3491de3e7fe942b330407abf82a4ed7c1b311663ac698 \
    90f4157015853d91e923037c227a33cdd5ec281ca3f79c44546b9d90ca00f064c99e3dd97911d39fe9c5d0b23a229a234cb3 \
    6186c4819e8b9c5927726632291d6a418211cc2962e20fe47feb3edf330f2c603a9d48c0fcb5699dbfe5896425c5bac4aee8 \
    2e57a85aaf4e2513e4f05796b07ba2ee47d80506f8d2c25e50fd14de71e6c418559302f939b0e1abd576f279c4b2e0feb85c \
    1f28ff18f58891ffef132eef2fa09346aee33c28eb130ff28f5b766953334113211996d20011a198e3fc433f9f2541010ae1 \
    7c1bf202580f6047472fb36857fe843b19f5984009ddc324044e847a4f4a0ab34f719595de37252d6235365e9b84392b0610 \
    85349d73203a4a13e96f5432ec0fd4a1ee65accdd5e3904df54c1da510b0ff20dcc0c77fcb2c0e0eb605cb0504db87632cf3 \
    d8b4dae6e705769d1de354270123cb11450efc60ac47683d7b8d0f811365565fd98c4c8eb936bcab8d069fc33bd801b03ade \
    a2e1fbc5aa463d08ca19896d2bf59a071b851e6c239052172f296bfb5e72404790a2181014f3b94a4e97d117b438130368cc \
    39dbb2d198065ae3986547926cd2162f40a29f0c3c8745c0f50fba3852e566d44575c29d39a03f0cda721984b6f440591f35 \
    5e12d439ff150aab7613499dbd49adabc8676eef023b15b65bfc5ca06948109f23f350db82123535eb8a7433bdabcb909271 \
    a6ecbcb58b936a88cd4e8f2e6ff5800175f113253d8fa9ca8885c2f552e657dc603f252e1a8e308f76f0be79e2fb8f5d5fbb \
    e2e30ecadd220723c8c0aea8078cdfcb3868263ff8f0940054da48781893a7e49ad5aff4af300cd804a6b6279ab3ff3afb64 \
    491c85194aab760d58a606654f9f4400e8b38591356fbf6425aca26dc85244259ff2b19c41b9f96f3ca9ec1dde434da7d2d3 \
    92b905ddf3d1f9af93d1af5950bd493f5aa731b4056df31bd267b6b90a079831aaf579be0a39013137aac6d404f518cfd468 \
    40647e78bfe706ca4cf5e9c5453e9f7cfd2b8b4c8d169a44e55c88d4a9a7f9474241e221af44860018ab0856972e194cd934";

/// A.3: the same for the server's first packet.
const SERVER_HEADER: &str = "c1000000010008f067a5502a4262b50040750001";

const SERVER_PAYLOAD: &str = "\
    02000000000600405a020000560303eefce7f7b37ba1d1632e96677825ddf73988cfc79825df566dc5430b9a045a12001301 \
    00002e00330024001d00209d3c940d89690b84d08a60993c144eca684d1081287c834d5311bcf32bb9da1a002b00020304";

const SERVER_INITIAL: &str = "\
    cf000000010008f067a5502a4262b5004075c0d95a482cd0991cd25b0aac406a5816b6394100f37a1c69797554780bb38cc5 \
    a99f5ede4cf73c3ec2493a1839b3dbcba3f6ea46c5b7684df3548e7ddeb9c3bf9c73cc3f3bded74b562bfb19fb84022f8ef4 \
    cdd93795d77d06edbb7aaf2f58891850abbdca3d20398c276456cbc42158407dd074ee";

fn client_keys() -> LevelKeys {
    client_tls().initial_keys(&unhex(DCID))
}

fn server_keys() -> LevelKeys {
    server_tls().initial_keys(&unhex(DCID))
}

fn plain(header: &str, payload: &[u8]) -> Vec<u8> {
    [&unhex(header), payload, &[0; TAG_LEN]].concat()
}

fn client_payload() -> Vec<u8> {
    let mut payload = unhex(CLIENT_HELLO_FRAME);
    payload.resize(1162, 0);
    payload
}

#[test]
fn a_2_the_client_initial_is_sealed_and_opened() {
    let mut packet = plain(CLIENT_HEADER, &client_payload());
    client_keys().seal(2, &mut packet, 18, 4).unwrap();
    assert_eq!(packet, unhex(CLIENT_INITIAL));

    let mut server = server_keys();
    let unmasked = server.unmask(&mut packet, 18).unwrap();
    assert_eq!(unmasked, Unmasked { first: 0xc3, truncated_pn: 2, pn_len: 4 });
    let payload = server.open(2, &mut packet, 22).unwrap();
    assert_eq!(packet[payload], client_payload());
    assert_eq!(server.failures(), 0);
}

#[test]
fn a_3_the_server_initial_is_sealed_and_opened() {
    let mut packet = plain(SERVER_HEADER, &unhex(SERVER_PAYLOAD));
    server_keys().seal(1, &mut packet, 18, 2).unwrap();
    assert_eq!(packet, unhex(SERVER_INITIAL));

    let mut client = client_keys();
    let unmasked = client.unmask(&mut packet, 18).unwrap();
    assert_eq!(unmasked, Unmasked { first: 0xc1, truncated_pn: 1, pn_len: 2 });
    let payload = client.open(1, &mut packet, 20).unwrap();
    assert_eq!(packet[payload], unhex(SERVER_PAYLOAD));
}

#[test]
fn a_changed_bit_anywhere_fails_and_is_counted() {
    let mut client = client_keys();
    let whole = unhex(SERVER_INITIAL);
    for bit in 0..whole.len() * 8 {
        let mut packet = whole.clone();
        packet[bit / 8] ^= 1 << (bit % 8);
        let unmasked = client.unmask(&mut packet, 18).unwrap();
        let opened = client.open(unmasked.truncated_pn, &mut packet, 18 + unmasked.pn_len);
        assert_eq!(opened, Err(OpenError::Failed), "bit {bit}");
    }
    assert_eq!(client.failures(), whole.len() as u64 * 8);
}

#[test]
fn reserved_bits_are_judged_after_authentication() {
    for bit in [0x04, 0x08] {
        let mut packet = plain(SERVER_HEADER, &unhex(SERVER_PAYLOAD));
        packet[0] |= bit;
        server_keys().seal(1, &mut packet, 18, 2).unwrap();
        let mut client = client_keys();
        client.unmask(&mut packet, 18).unwrap();
        let mut forged = packet.clone();
        forged[30] ^= 1;
        assert_eq!(client.open(1, &mut forged, 20), Err(OpenError::Failed));
        let error = client.open(1, &mut packet, 20).unwrap_err();
        assert_eq!(error, OpenError::ReservedBits);
        assert!(error.blame().is_some() && OpenError::Failed.blame().is_none());
    }
}

#[test]
fn short_headers_have_reserved_bits_of_their_own() {
    let (key, header_key) = chacha();
    let ppn = Ppn::new(PathId(2), A_5_PN);
    for (bit, allowed) in [(0x20, true), (0x10, false), (0x08, false), (0x04, true)] {
        let mut packet = plain("4200bff4", &[1]);
        packet[0] |= bit;
        protect::seal(&key, &header_key, ppn, &mut packet, 1, 3).unwrap();
        protect::unmask(&header_key, &mut packet, 1).unwrap();
        let expected = if allowed { Ok(4..5) } else { Err(OpenError::ReservedBits) };
        assert_eq!(protect::open(&key, ppn, &mut packet, 4), expected, "{bit:#x}");
    }
}

#[test]
fn packets_too_short_for_a_sample_are_not_touched() {
    let client = client_keys();
    for len in 0..38 {
        let mut packet = unhex(SERVER_INITIAL)[..len].to_vec();
        assert_eq!(client.unmask(&mut packet, 18), None, "{len}");
        assert_eq!(packet, unhex(SERVER_INITIAL)[..len]);
    }
    let mut packet = unhex(SERVER_INITIAL);
    assert_eq!(client.unmask(&mut packet, 0), None);
    assert_eq!(client.unmask(&mut packet, usize::MAX), None);
    assert_eq!(client_keys().open(0, &mut packet, usize::MAX), Err(OpenError::Failed));
    assert_eq!(client_keys().open(0, &mut packet[..25], 20), Err(OpenError::Failed));
}

/// A.5: the ChaCha20-Poly1305 keys of a server.
fn chacha_ciphers() -> (Box<dyn quic::PacketKey>, Box<dyn quic::HeaderProtectionKey>) {
    let suite =
        TLS13_CHACHA20_POLY1305_SHA256.tls13().and_then(rustls::Tls13CipherSuite::quic_suite).unwrap();
    let key = |text: &str| AeadKey::from(<[u8; 32]>::try_from(unhex(text)).unwrap());
    let iv: [u8; 12] = unhex("e0459b3474bdd0e44a41c144").try_into().unwrap();
    let packet = key("c6d98ff3441c3fe1b2182094f69caa2ed4b716b65488960a7a984979fb23e1c8");
    let header = key("25a282b9e82f06f21f488917a4fc8f1b73573685608597d0efcb076b0ab7a7a4");
    (suite.quic.packet_key(packet, Iv::from(iv)), suite.quic.header_protection_key(header))
}

fn chacha() -> (PacketKey, HeaderKey) {
    let (packet, header) = chacha_ciphers();
    (PacketKey::new(packet), HeaderKey::new(header))
}

const A_5_PN: u64 = 654_360_564;

/// MP-034
#[test]
fn a_5_the_smallest_packet_is_sealed_and_opened() {
    let (key, header_key) = chacha();
    let mut packet = plain("4200bff4", &[1]);
    let ppn = Ppn::new(PathId::ZERO, A_5_PN);
    protect::seal(&key, &header_key, ppn, &mut packet, 1, 3).unwrap();
    assert_eq!(packet, unhex("4cfe4189655e5cd55c41f69080575d7999c25a5bfb"));

    let unmasked = protect::unmask(&header_key, &mut packet, 1).unwrap();
    assert_eq!(unmasked, Unmasked { first: 0x42, truncated_pn: 49_140, pn_len: 3 });
    let payload = protect::open(&key, ppn, &mut packet, 4).unwrap();
    assert_eq!(packet[payload], [1]);
}

/// MP-033, MP-034
#[test]
fn the_path_changes_the_ciphertext_as_the_draft_says() {
    let (key, header_key) = chacha();
    let cases = [
        (0, "655e5cd55c41f69080575d7999c25a5bfb"),
        (1, "fd625181f437d28926c29c961ca448bc88"),
        (3, "cc28ac6be04d623997f23ee26485ba3432"),
        (u32::MAX, "6a2cc25f67fa4a165f90c051cba7773efd"),
    ];
    for (path, ciphertext) in cases {
        let mut packet = plain("4200bff4", &[1]);
        let ppn = Ppn::new(PathId(path), A_5_PN);
        protect::seal(&key, &header_key, ppn, &mut packet, 1, 3).unwrap();
        assert_eq!(packet[4..], unhex(ciphertext), "path {path}");
        protect::unmask(&header_key, &mut packet, 1).unwrap();
        assert_eq!(packet[..4], unhex("4200bff4"), "header protection knows no path (MP-036)");
        let mut elsewhere = packet.clone();
        let other = Ppn::new(PathId(path ^ 2), A_5_PN);
        assert_eq!(protect::open(&key, other, &mut elsewhere, 4), Err(OpenError::Failed));
        assert_eq!(protect::open(&key, ppn, &mut packet, 4), Ok(4..5));
    }
}

/// A cipher of a provider that was made before multipath: the calls with a path have only their default bodies.
struct WithoutPaths(Box<dyn quic::PacketKey>);

impl quic::PacketKey for WithoutPaths {
    fn encrypt_in_place(
        &self,
        pn: u64,
        header: &[u8],
        payload: &mut [u8],
    ) -> Result<quic::Tag, rustls::Error> {
        self.0.encrypt_in_place(pn, header, payload)
    }

    fn decrypt_in_place<'a>(
        &self,
        pn: u64,
        header: &[u8],
        payload: &'a mut [u8],
    ) -> Result<&'a [u8], rustls::Error> {
        self.0.decrypt_in_place(pn, header, payload)
    }

    fn tag_len(&self) -> usize {
        self.0.tag_len()
    }

    fn confidentiality_limit(&self) -> u64 {
        self.0.confidentiality_limit()
    }

    fn integrity_limit(&self) -> u64 {
        self.0.integrity_limit()
    }
}

/// MP-010, MP-037
#[test]
fn a_cipher_without_paths_is_found_out_and_still_carries_path_0() {
    let (packet, header) = chacha_ciphers();
    let (key, header_key) = (PacketKey::new(Box::new(WithoutPaths(packet))), HeaderKey::new(header));
    assert!(!key.supports_paths() && chacha().0.supports_paths());
    let mut packet = plain("4200bff4", &[1]);
    let on_path = |path| Ppn::new(PathId(path), A_5_PN);
    assert_eq!(protect::seal(&key, &header_key, on_path(1), &mut packet, 1, 3), Err(SealError::Refused));
    protect::seal(&key, &header_key, on_path(0), &mut packet, 1, 3).unwrap();
    assert_eq!(packet, unhex("4cfe4189655e5cd55c41f69080575d7999c25a5bfb"));
}
