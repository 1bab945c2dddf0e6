//! What the store keeps in memory for each object, counted byte by byte.

#![allow(unsafe_code, reason = "an allocator that counts is one")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

use tidegate_apiserver::store::{self, Store};

mod many;

/// Objects that are stored before it is counted: what does not grow with their number is there then. That is the store's window
/// of changes, and pages of its file.
const BEFORE: usize = 10_000;
/// Objects that are counted.
const COUNTED: usize = 10_000;
/// Bytes for each byte of an object's JSON.
const MOST: usize = 3;

struct Counting;

static LIVE: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call goes to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        LIVE.fetch_add(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller keeps the contract of `dealloc`, and `alloc` was the system's.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Bytes of memory that the process has: what allocators add to what they are asked for counts, too.
fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("VmRSS");
    let kilobytes: usize = line.trim().trim_end_matches(" kB").parse().expect("a number");
    kilobytes * 1_024
}

#[tokio::test]
async fn an_object_takes_at_most_three_times_its_json() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = Store::open(dir.path(), store::Options::default()).expect("a store");
    many::store(&store, 0..BEFORE).await;
    let before = (LIVE.load(Ordering::Relaxed), resident());
    let json = many::store(&store, BEFORE..BEFORE + COUNTED).await;
    let asked_for = LIVE.load(Ordering::Relaxed) - before.0;
    let taken = resident() - before.1;
    let each = (taken / COUNTED, asked_for / COUNTED, json / COUNTED);
    println!("each: {each:?}");
    assert!(json > 900 * COUNTED, "objects as people write them: {each:?}");
    assert!(
        taken <= MOST * json,
        "{each:?} bytes of memory, allocated and of JSON for each object"
    );
}
