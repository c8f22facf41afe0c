//! What becomes of `auto` where `io_uring` is barred, as in many containers.
//!
//! The bar is a seccomp filter on the test's own thread, which ends with it.

mod common;

use std::thread;

use braid_udp_uring::{BpfInstruction, Config, IoKind, Udp, Wait};

use common::{available, collect, plain, send, to};

/// Lets `io_uring_setup` fail with EPERM on this thread.
fn bar_io_uring() {
    let instruction = |code, jt, jf, k| BpfInstruction { code, jt, jf, k };
    let program = [
        instruction(0x20, 0, 0, 0), // A = number of the system call
        instruction(0x15, 0, 1, libc::SYS_io_uring_setup as u32), // is it this one?
        instruction(0x06, 0, 0, 0x0005_0000 | libc::EPERM as u32), // fail
        instruction(0x06, 0, 0, 0x7fff_0000), // allow
    ];
    let filter = libc::sock_fprog {
        len: program.len() as u16,
        filter: program.as_ptr().cast::<libc::sock_filter>().cast_mut(),
    };
    // SAFETY: the first call takes numbers only; the second copies the program, which outlives it.
    unsafe {
        assert_eq!(libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
        assert_eq!(libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const filter), 0);
    }
}

#[test]
fn auto_becomes_mmsg_where_io_uring_is_barred_and_says_why() {
    thread::spawn(|| {
        bar_io_uring();
        let config = Config { kind: IoKind::Uring, ..Config::default() };
        assert_eq!(Udp::new(&config).unwrap_err().raw_os_error(), Some(libc::EPERM));
        let (mut receiver, there) = plain(IoKind::Auto, "127.0.0.1:0");
        let (mut sender, _) = plain(IoKind::Auto, "127.0.0.1:0");
        assert_eq!(receiver.kind(), IoKind::Mmsg);
        let reason = receiver.fallback_reason().expect("a reason");
        assert!(reason.starts_with("io_uring is not permitted here"), "{reason}");
        send(&mut sender, to(there, 100), &[1; 500]);
        sender.submit_and_wait(Wait::Now).unwrap();
        assert_eq!(collect(&mut receiver, 5)[0].bytes, [1; 500]);
    })
    .join()
    .unwrap();
}

#[test]
fn auto_is_io_uring_where_that_works() {
    if available(IoKind::Uring) {
        let udp = Udp::new(&Config::default()).unwrap();
        assert_eq!((udp.kind(), udp.fallback_reason()), (IoKind::Uring, None));
    }
    let mmsg = Udp::new(&Config { kind: IoKind::Mmsg, ..Config::default() }).unwrap();
    assert_eq!((mmsg.kind(), mmsg.fallback_reason()), (IoKind::Mmsg, None));
}
