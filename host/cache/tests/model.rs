//! Random operations against what a plain map says.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use common::*;
use std::collections::HashMap;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use wasmount_cache::admin;
use wasmount_core::ports::CachedFile;

const OBJECTS: u64 = 6;

fn size_of(object: u64) -> u64 {
    [1, 4096, 10_000, 70_000, 1 << 20, (2 << 20) + 4095][object as usize]
}

/// Pages that are there, of each object.
type Model = HashMap<u64, Vec<bool>>;

struct World {
    lab: Lab,
    model: Model,
    open: HashMap<u64, Arc<dyn CachedFile>>,
}

impl World {
    fn file(&mut self, object: u64) -> (String, u64, Arc<dyn CachedFile>) {
        let (key, size) = (format!("o{object}"), size_of(object));
        let file = match self.open.get(&object) {
            Some(file) => file.clone(),
            None => self.lab.open(&key, size),
        };
        (key, size, file)
    }

    fn pages(&mut self, object: u64) -> &mut Vec<bool> {
        self.model.entry(object).or_insert_with(|| vec![false; size_of(object).div_ceil(PAGE) as usize])
    }

    fn run(&mut self, object: u64, from: u64, to: u64) -> u64 {
        let pages = self.pages(object);
        let run = pages[(from / PAGE) as usize..].iter().take_while(|there| **there).count() as u64;
        if run == 0 { from } else { ((from / PAGE + run) * PAGE).min(to) }
    }

    fn step(&mut self, dice: &mut Dice) {
        let object = dice.below(OBJECTS);
        let (key, size, file) = self.file(object);
        match dice.below(20) {
            0..6 => {
                let from = dice.below(size) / PAGE * PAGE;
                let to =
                    if dice.below(2) == 0 { size } else { (from + PAGE * (1 + dice.below(80))).min(size) };
                self.lab.offer(&*file, &key, from, to, 1 + dice.below(300_000) as usize);
                self.lab.flush();
                let pages = self.pages(object);
                pages[(from / PAGE) as usize..to.div_ceil(PAGE) as usize].fill(true);
            }
            6..12 => {
                let from = dice.below(size);
                let to = from + 1 + dice.below(size - from);
                let expected = self.run(object, from, to);
                assert_eq!(file.run(from, to), expected, "{key} {from}..{to}");
                if expected > from {
                    assert!(self.lab.read(&*file, &key, from, expected));
                }
                if expected < to {
                    assert!(!self.lab.read(&*file, &key, from, to));
                }
            }
            12 | 13 => {
                self.open.insert(object, file);
            }
            14 => {
                self.open.remove(&object);
            }
            15 => {
                let whole = self.pages(object).iter().all(|there| *there);
                let fd = match whole {
                    true => self.lab.backing(&*file),
                    false => self.lab.runtime.block_on(file.backing()),
                };
                assert_eq!(fd.is_some(), whole, "{key}");
                if let Some(fd) = fd {
                    let mut all = vec![0; size as usize];
                    File::from(fd.try_clone().unwrap()).read_exact_at(&mut all, 0).unwrap();
                    assert!(all == body(&key, 0, size));
                }
            }
            16 => {
                drop(file);
                let filter = admin::Filter { key_prefix: Some(key.clone()), ..admin::Filter::default() };
                self.lab.flush();
                admin::remove(&self.lab.dir, &filter).unwrap();
                if !self.open.contains_key(&object) {
                    self.model.remove(&object);
                }
            }
            17 => {
                drop(file);
                self.open.clear();
                self.lab.restart();
            }
            18 => {
                let there: Vec<usize> =
                    self.pages(object).iter().enumerate().filter(|(_, t)| **t).map(|(n, _)| n).collect();
                if there.is_empty() {
                    return;
                }
                let page = there[dice.below(there.len() as u64) as usize];
                let name = self.data_file(&key);
                flip(&name, page as u64 * PAGE);
                let end = (page as u64 * PAGE + PAGE).min(size);
                assert!(!self.lab.read(&*file, &key, page as u64 * PAGE, end));
                self.pages(object)[page] = false;
            }
            _ => {
                let expected: u64 = self
                    .pages(object)
                    .iter()
                    .enumerate()
                    .filter(|(_, there)| **there)
                    .map(|(n, _)| PAGE.min(size - n as u64 * PAGE))
                    .sum();
                let got = file.cached_bytes();
                assert!(got == expected || got.abs_diff(expected) < PAGE, "{key}: {got} for {expected}");
            }
        }
    }

    /// Finds an object's data file by the key in the meta file beside it.
    fn data_file(&self, key: &str) -> std::path::PathBuf {
        let mut metas = self.lab.files("meta").into_iter();
        metas
            .find(|meta| std::fs::read(meta).unwrap()[144..].starts_with(format!("{key}e1").as_bytes()))
            .unwrap()
            .with_extension("data")
    }
}

#[test]
fn a_cache_is_a_map_that_may_forget_only_what_is_removed_or_damaged() {
    let steps: u64 = std::env::var("WASMOUNT_STEPS").ok().and_then(|n| n.parse().ok()).unwrap_or(400);
    let mut dice = Dice::new();
    let mut world = World { lab: Lab::new(), model: Model::new(), open: HashMap::new() };
    for _ in 0..steps {
        world.step(&mut dice);
    }
}
