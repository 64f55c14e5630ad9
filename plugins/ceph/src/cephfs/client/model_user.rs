//! The user in the model: he calls, keeps whatever he may, as a kernel does, and checks what he is told.

use super::super::model_mds::{DIR, Group};
use super::{Asked, NAMES, Seen, Versions, World};
use crate::cephfs::{
    Answer, Attributes, CallId, EntryRight, FileId, Invalid, ListedEntry, ListingId, Rights, Vino,
};
use crate::mds::Caps;

impl World {
    pub(super) fn call(&mut self) {
        if self.calls.len() >= 12 {
            return;
        }
        let (now, kind) = (self.now(), self.number(10));
        let before = self.mds.nodes.iter().map(|(ino, node)| (*ino, node.versions.clone())).collect();
        let (id, asked) = match kind {
            0..=2 => {
                let name = NAMES[self.number(5) as usize];
                let version = self.mds.entries[name].1;
                let id = self.client.lookup(Vino::head(DIR), name.as_bytes(), None, now);
                (id, Asked::Lookup(name.to_owned(), version))
            }
            3..=4 => {
                let ino = self.ino();
                let masks = [Caps::ANY_SHARED, Caps::AUTH_SHARED, Caps::XATTR_SHARED, Caps::FILE_SHARED];
                let mask = masks[self.number(4) as usize];
                (self.client.getattr(Vino::head(ino), mask, None, now), Asked::Getattr(ino, mask.0))
            }
            5 if self.files.len() < 4 => {
                let (ino, keep) = (self.file(), self.number(2) == 0);
                (self.client.open(Vino::head(ino), keep, None, now), Asked::Open(ino))
            }
            5..=7 => {
                let at = self.number(4) as usize;
                let Some(&(file, _)) = self.files.get(at) else { return };
                let end = [1, 1_000_000][self.number(2) as usize];
                (self.client.read_right(file, end, None, now), Asked::Read(file, end))
            }
            _ if self.listings.len() < 2 => {
                let (id, keep) = self.client.open_directory(Vino::head(DIR)).unwrap();
                self.kept_listing |= keep;
                self.listings.insert(id, Seen { names: self.mds.entries.clone(), listed: Vec::new() });
                (self.client.readdir(id, 0, 2, true, None, now), Asked::List(id))
            }
            _ => return,
        };
        self.calls.insert(id, (asked, before));
    }

    fn check_attributes(&self, a: &Attributes, before: &Versions, mask: Caps) {
        let ino = a.vino.ino;
        let (before, now) = (&before[&ino], &self.mds.nodes[&ino].versions);
        let check = |group, bits, value: u64| {
            if mask.contains(bits) {
                let (first, last) = (before[&group], now[&group]);
                assert!(
                    (first..=last).contains(&value),
                    "{group:?} of {ino}: {value}, not {first} to {last}"
                );
            }
        };
        check(Group::Owner, Caps::AUTH_SHARED, a.uid.into());
        check(Group::Content, Caps::FILE_SHARED, a.size);
        if mask.contains(Caps::XATTR_SHARED) {
            let value = &a.xattrs.as_ref().unwrap()[&b"a"[..]];
            check(
                Group::Xattrs,
                Caps::XATTR_SHARED,
                u64::from_le_bytes(value.as_slice().try_into().unwrap()),
            );
        }
    }

    fn keep(&mut self, name: &str, ino: Option<u64>, rights: Rights) {
        if let Some(ino) = ino {
            if rights.attributes {
                self.kept_attributes.insert(ino);
            }
            *self.references.entry(ino).or_default() += 1;
        }
        match rights.entry {
            EntryRight::UntilInvalidated => drop(self.kept_entries.insert(name.to_owned())),
            EntryRight::For(ms) => drop(self.kept_leases.insert(name.to_owned(), self.now_ms + ms)),
            EntryRight::No => {}
        }
    }

    pub(super) fn check(&mut self, asked: Asked, before: &Versions, answer: Answer) {
        match (asked, answer) {
            (Asked::Lookup(name, version), Answer::Found(entry)) => {
                let (now, last) = self.mds.entries[&name];
                let ino = entry.attributes.vino.ino;
                assert!(now == Some(ino) || last > version, "{name} leads to {now:?} and not to {ino}");
                self.check_attributes(&entry.attributes, before, Caps::ANY_SHARED);
                self.keep(&name, Some(ino), entry.rights);
            }
            (Asked::Lookup(name, version), Answer::Absent(right)) => {
                let (now, last) = self.mds.entries[&name];
                assert!(now.is_none() || last > version, "{name} leads to {now:?}");
                self.keep(&name, None, Rights { entry: right, ..Rights::NONE });
            }
            (Asked::Getattr(ino, mask), Answer::Attributes(attributes, rights)) => {
                self.check_attributes(&attributes, before, Caps(mask));
                if rights.attributes {
                    self.kept_attributes.insert(ino);
                }
            }
            (Asked::Open(ino), Answer::Opened { file, pages, .. }) => {
                self.files.push((file, ino));
                if pages {
                    self.kept_pages.insert(ino);
                }
            }
            (Asked::Read(_, end), Answer::Read(plan)) => {
                let ino = plan.vino.ino;
                let (first, last) =
                    (before[&ino][&Group::Content], self.mds.nodes[&ino].versions[&Group::Content]);
                // Where the file ends must be known only to those who may come to its end.
                let known = (first..=last).contains(&plan.size) || (end <= plan.size && plan.size <= last);
                assert!(known, "size {} of {ino}, not {first} to {last}", plan.size);
                self.reading.push((ino, true));
                if plan.cacheable {
                    self.kept_pages.insert(ino);
                }
            }
            (Asked::List(id), Answer::Page { entries, end }) => self.page(id, before, entries, end),
            (_, answer) => panic!("{answer:?}"),
        }
    }

    fn page(&mut self, id: ListingId, before: &Versions, entries: Vec<ListedEntry>, end: bool) {
        let mut seen = self.listings.remove(&id).unwrap_or_default();
        let cookie = entries.last().map(|entry| entry.cookie);
        for listed in entries {
            let name = String::from_utf8(listed.name.to_vec()).unwrap();
            if let Some(entry) = listed.entry {
                self.check_attributes(&entry.attributes, before, Caps::ANY_SHARED);
                self.keep(&name, Some(listed.vino.ino), entry.rights);
            }
            seen.listed.push(name);
        }
        if !end {
            self.listings.insert(id, seen);
            let before = self.mds.nodes.iter().map(|(ino, node)| (*ino, node.versions.clone())).collect();
            let next = self.client.readdir(id, cookie.unwrap(), 2, true, None, self.now());
            self.calls.insert(next, (Asked::List(id), before));
            return;
        }
        self.client.close_directory(id);
        for (name, (target, version)) in seen.names {
            let times = seen.listed.iter().filter(|listed| **listed == name).count();
            let unchanged = self.mds.entries[&name].1 == version;
            assert!(times <= 1, "{name} is listed {times} times");
            assert!(
                !unchanged || times == usize::from(target.is_some()),
                "{name}: {target:?}, listed {times} times"
            );
        }
    }

    pub(super) fn forget(&mut self, items: &[Invalid]) {
        for item in items {
            match item {
                Invalid::Attributes(vino) => drop(self.kept_attributes.remove(&vino.ino)),
                Invalid::Data(vino) => drop(self.kept_pages.remove(&vino.ino)),
                Invalid::Entry(_, name) => {
                    let name = std::str::from_utf8(name).unwrap();
                    self.kept_entries.remove(name);
                    self.kept_leases.remove(name);
                }
                Invalid::Directory(_) => {
                    self.kept_entries.clear();
                    self.kept_leases.clear();
                    self.kept_listing = false;
                }
                Invalid::Everything => {
                    self.kept_attributes.clear();
                    self.kept_pages.clear();
                    self.kept_entries.clear();
                    self.kept_leases.clear();
                    self.kept_listing = false;
                }
            }
        }
    }

    /// The kernel forgets bytes only when no page is locked: when all reads of the file that wait for their right or run have ended.
    pub(super) fn invalidate(&mut self) {
        if self.tokens.is_empty() {
            return;
        }
        let at = self.number(self.tokens.len() as u64) as usize;
        let locked = |ino: u64| {
            let waits = |file: &FileId| self.files.iter().any(|(open, of)| open == file && *of == ino);
            self.reading.iter().any(|(reading, _)| *reading == ino)
                || self.calls.values().any(|(asked, _)| matches!(asked, Asked::Read(file, _) if waits(file)))
        };
        let blocked =
            self.tokens[at].1.iter().any(|item| matches!(item, Invalid::Data(vino) if locked(vino.ino)));
        if blocked {
            return;
        }
        if let Some((token, items)) = self.tokens.remove(at) {
            self.forget(&items);
            self.client.invalidated(token, self.now());
        }
    }

    pub(super) fn user(&mut self) {
        let now = self.now();
        match self.number(4) {
            2 if self.number(4) == 0 => {
                let of_files = |(id, (asked, _)): (&CallId, &(Asked, Versions))| {
                    matches!(asked, Asked::Open(_) | Asked::Read(..)).then_some(*id)
                };
                if let Some(id) = self.calls.iter().find_map(of_files) {
                    self.calls.remove(&id);
                    self.client.give_up(id, now);
                }
            }
            0 if !self.files.is_empty() => {
                let at = self.number(self.files.len() as u64) as usize;
                let file = self.files[at].0;
                let busy =
                    self.calls.values().any(|(asked, _)| matches!(asked, Asked::Read(of, _) if *of == file));
                if !busy {
                    self.files.swap_remove(at);
                    self.client.close(file, now);
                }
            }
            1 => {
                let ino = self.ino();
                let open = self.files.iter().any(|(_, of)| *of == ino);
                let kept = self.kept_pages.contains(&ino) || ino == DIR || open;
                if let Some(count) = self.references.get(&ino).copied().filter(|_| !kept) {
                    self.references.remove(&ino);
                    self.kept_attributes.remove(&ino);
                    self.client.forget(Vino::head(ino), count, now);
                }
            }
            _ if !self.reading.is_empty() => {
                let at = self.number(self.reading.len() as u64) as usize;
                let (ino, _) = self.reading.swap_remove(at);
                self.client.read_done(Vino::head(ino), now);
            }
            _ => {}
        }
    }
}
