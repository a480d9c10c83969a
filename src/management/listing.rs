//! Lists of what virtual hosts own, however long they are.
//!
//! ```text
//!  visit: some places of a virtual host a hold ─► rows ─► those of the page ─► read: some objects a hold ─► JSON
//! ```
//!
//! A row is what names an object and says where it stands in the list. Rows are visited in steps, between which
//! others get the virtual host, and only those of the page are kept; then their objects alone are
//! read. A list without pages keeps the first rows, and visits all again for the next ones once these
//! are written. All of that is done off the threads that serve connections.
//!
//! What comes or goes meanwhile may be missing or be there; nothing is listed twice, and no object is torn.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::sync::Arc;

use super::access::Caller;
use super::answer::Failure;
use super::fields::{Field, FieldContext, Writer, object};
use super::json_stream::{Envelope, Items, JsonStream};
use super::list::{Columns, ListQuery, Page, SortKey};
use super::{Answer, Api, AppState, Permits, off_thread};
use crate::broker::vhost::Vhost;
use crate::handle::{PLACES_A_HOLD, Peers, VhostHandle};
use crate::vhosts::Registry;

/// How many objects are read before others get the virtual host.
///
/// why: reading one costs some times as much as visiting its place.
const OBJECTS_A_HOLD: usize = 200;

/// How many rows are kept at least before those that are on no requested page are dropped.
const ROWS_BEFORE_CUT: usize = 1_000;

/// How many rows of a list without pages are found at once.
///
/// why: some megabytes, and few visits of a list of a million.
const ROWS_A_VISIT: usize = 50_000;

/// How long a list may be for others not to have to wait until all of it is written.
const SHORT_LIST: usize = 1_000;

/// A kind of object, and which of them are listed.
pub(super) trait ObjectKind: Send + 'static {
    /// Names an object within its virtual host. Lists are in the order of these, unless another is
    /// requested.
    type Row: Ord + Clone + Send;
    /// An object as it is at one moment, with what is known of it outside of the virtual host.
    type Object: Send + 'static;
    /// How far a visit has come.
    type Visit: Send;

    /// What objects show.
    const FIELDS: &'static [Field<Self::Object>];

    /// A visit that has not begun.
    fn visit(&self) -> Self::Visit;

    /// Goes on with a visit, for about [`PLACES_A_HOLD`] places. Says whether there is more.
    fn step(
        &self,
        vhost: &Vhost,
        peers: Peers<'_>,
        visit: &mut Self::Visit,
        rows: &mut Vec<Self::Row>,
    ) -> bool;

    /// The object, if it is still there.
    fn read(vhost: &Vhost, peers: Peers<'_>, row: &Self::Row) -> Option<Self::Object>;

    /// The name that a filter looks at; empty when objects have none.
    fn name(row: &Self::Row) -> Cow<'_, str>;
}

/// Goes on with a visit that counts places.
pub(super) fn step_places(end: usize, next: &mut usize, visit: impl FnMut(usize)) -> bool {
    let step = *next..end.min(*next + PLACES_A_HOLD);
    *next = step.end.max(*next);
    step.for_each(visit);
    *next < end
}

/// A request for a list.
pub(super) struct Listing<K> {
    app: Api,
    registry: Arc<Registry>,
    vhosts: Vec<(String, VhostHandle)>,
    kind: K,
    query: ListQuery,
}

impl<K: ObjectKind> Listing<K> {
    /// Of all virtual hosts of which lists show this user what is in them.
    pub(super) fn of_all(app: &Api, caller: &Caller, query: ListQuery, kind: K) -> Self {
        let mut vhosts = app.vhosts.running();
        vhosts.retain(|(name, _)| caller.lists_vhost(app, name));
        Listing::new(app, query, kind, vhosts)
    }

    /// Of one virtual host.
    pub(super) fn of_vhost(
        app: &Api,
        query: ListQuery,
        kind: K,
        vhost: &str,
    ) -> Result<Self, Failure> {
        let vhosts = vec![(vhost.to_owned(), app.vhost(vhost)?)];
        Ok(Listing::new(app, query, kind, vhosts))
    }

    pub(super) fn new(
        app: &Api,
        query: ListQuery,
        kind: K,
        vhosts: Vec<(String, VhostHandle)>,
    ) -> Self {
        Listing { app: app.clone(), registry: app.vhosts.registry(), vhosts, kind, query }
    }

    /// Answers with the page that is requested, or with all of it.
    pub(super) async fn answer(self) -> Answer {
        let Some(page) = self.query.page()? else {
            let columns = self.query.columns();
            return self.answer_all(Envelope::List, columns).await;
        };
        let _permit = Permits::take(&self.app.permits.pages).await?;
        off_thread(move || {
            let Found { total, filtered, mut rows } = self.find_page(&page);
            let envelope = page.envelope(total, filtered)?;
            rows.drain(..page.start().min(rows.len()));
            let columns = self.query.columns();
            Ok(JsonStream::new(Reader::new(self, rows, &columns), envelope).answer(None))
        })
        .await
    }

    /// Answers with an object that has all of it in a field.
    pub(super) async fn answer_within(
        self,
        whole: serde_json::Value,
        field: &'static str,
    ) -> Answer {
        let columns = self.query.columns();
        let Some(below) = columns.below(field) else { return Ok(self.query.show(whole)) };
        let envelope = Envelope::Within { whole: columns.pick(whole), field };
        self.answer_all(envelope, below).await
    }

    async fn answer_all(self, envelope: Envelope, columns: Columns) -> Answer {
        let permit = Permits::take(&self.app.permits.lists).await?;
        off_thread(move || {
            let rows = self.find_next(None);
            let permit = (rows.len() > SHORT_LIST).then_some(permit);
            let has_more = self.has_more(&rows);
            let reader = Reader { has_more, ..Reader::new(self, rows, &columns) };
            Ok(JsonStream::new(reader, envelope).answer(permit))
        })
        .await
    }

    /// The rows up to the end of a page.
    fn find_page(&self, page: &Page) -> Found<K::Row> {
        let mut first = FirstRows::new(page.end(), self.query.is_reverse());
        let (mut total, mut filtered) = (0, 0);
        self.visit(|vhost, rows| {
            total += rows.len();
            rows.retain(|row| page.filter.matches(&K::name(row)));
            filtered += rows.len();
            self.with_keys(vhost, rows).for_each(|row| first.push(row));
        });
        Found { total, filtered, rows: first.finish() }
    }

    /// The rows behind the last one that was found, or the first ones: some of them, or all of a list that is
    /// sorted by a field.
    ///
    /// why: what a field shows may be another thing at the next visit, and its object twice in the list.
    fn find_next(&self, last: Option<&SortedRow<K::Row>>) -> Vec<SortedRow<K::Row>> {
        let most = if self.query.sort().is_some() { usize::MAX } else { ROWS_A_VISIT };
        let mut first = FirstRows::new(most, self.query.is_reverse());
        self.visit(|vhost, rows| {
            for row in self.with_keys(vhost, rows) {
                if last.is_none_or(|last| first.is_behind(&row, last) && !is_same::<K>(&row, last))
                {
                    first.push(row);
                }
            }
        });
        first.finish()
    }

    /// Whether there may be more behind the rows that [`find_next`](Listing::find_next) has found.
    fn has_more(&self, rows: &[SortedRow<K::Row>]) -> bool {
        self.query.sort().is_none() && rows.len() == ROWS_A_VISIT
    }

    /// Visits everything: `found` gets the rows of a step and the number of their virtual host.
    fn visit(&self, mut found: impl FnMut(usize, &mut Vec<K::Row>)) {
        for (index, (_, handle)) in self.vhosts.iter().enumerate() {
            let mut visit = self.kind.visit();
            let mut rows = Vec::new();
            let mut goes_on = true;
            while goes_on {
                goes_on = handle.read_with_peers(|vhost, peers| {
                    self.kind.step(vhost, peers, &mut visit, &mut rows)
                });
                found(index, &mut rows);
                rows.clear();
            }
        }
    }

    /// The rows of a step with what they are sorted by.
    fn with_keys(
        &self,
        vhost: usize,
        rows: &mut Vec<K::Row>,
    ) -> impl Iterator<Item = SortedRow<K::Row>> {
        let keys = self.query.sort().map(|sort| self.keys(vhost, sort, rows));
        let mut keys = keys.into_iter().flatten();
        rows.drain(..).map(move |row| {
            let key = keys.next().unwrap_or_default();
            SortedRow { key, vhost, row }
        })
    }

    /// What rows are sorted by; nothing if no object has such a field.
    fn keys(&self, vhost: usize, sort: &str, rows: &[K::Row]) -> Vec<SortKey> {
        let path: Vec<&str> = sort.split('.').collect();
        let field = K::FIELDS.iter().find(|(name, _)| Some(name) == path.first());
        let Some((_, field)) = field else { return Vec::new() };
        let (vhost, handle) = &self.vhosts[vhost];
        let context = FieldContext { app: &self.app, registry: &self.registry, vhost };
        let mut keys = Vec::with_capacity(rows.len());
        for rows in rows.chunks(OBJECTS_A_HOLD) {
            let objects: Vec<_> = handle.read_with_peers(|vhost, peers| {
                rows.iter().map(|row| K::read(vhost, peers, row)).collect()
            });
            let key =
                |object: &K::Object| field(&context, object).at(&path[1..]).map(SortKey::from);
            let key = |object: Option<K::Object>| object.as_ref().and_then(key).unwrap_or_default();
            keys.extend(objects.into_iter().map(key));
        }
        keys
    }
}

/// Whether two rows are of the same name, as when an object went and another one came in its place.
fn is_same<K: ObjectKind>(a: &SortedRow<K::Row>, b: &SortedRow<K::Row>) -> bool {
    let name = K::name(&a.row);
    a.vhost == b.vhost && !name.is_empty() && name == K::name(&b.row)
}

/// Shows one object as a value.
pub(super) fn shown<K: ObjectKind>(
    app: &AppState,
    vhost: &str,
    it: &K::Object,
) -> serde_json::Value {
    let context = FieldContext { app, registry: &app.vhosts.registry(), vhost };
    object(K::FIELDS, &context, it)
}

/// The rows that are requested, in order, and how many there are before.
struct Found<R> {
    total: usize,
    filtered: usize,
    rows: Vec<SortedRow<R>>,
}

/// A row with what it is sorted by.
#[derive(Clone)]
struct SortedRow<R> {
    key: SortKey,
    /// Which of the virtual hosts.
    vhost: usize,
    row: R,
}

impl<R: Ord> SortedRow<R> {
    fn order(&self, other: &Self) -> Ordering {
        (&self.key, self.vhost, &self.row).cmp(&(&other.key, other.vhost, &other.row))
    }
}

/// Keeps the first of many rows that come in any order.
struct FirstRows<R> {
    rows: Vec<SortedRow<R>>,
    most: usize,
    is_reverse: bool,
}

impl<R: Ord> FirstRows<R> {
    /// Keeps at most so many, one at least.
    fn new(most: usize, is_reverse: bool) -> Self {
        FirstRows { rows: Vec::new(), most: most.max(1), is_reverse }
    }

    /// Whether a row comes after another one in the list.
    fn is_behind(&self, row: &SortedRow<R>, other: &SortedRow<R>) -> bool {
        ordered(row, other, self.is_reverse).is_gt()
    }

    fn push(&mut self, row: SortedRow<R>) {
        self.rows.push(row);
        // why: with room for as many again, a cut costs little for each row.
        if self.rows.len() >= self.most.saturating_mul(2).max(ROWS_BEFORE_CUT) {
            self.cut();
        }
    }

    fn cut(&mut self) {
        if self.rows.len() > self.most {
            let is_reverse = self.is_reverse;
            self.rows.select_nth_unstable_by(self.most - 1, |a, b| ordered(a, b, is_reverse));
            self.rows.truncate(self.most);
        }
    }

    fn finish(mut self) -> Vec<SortedRow<R>> {
        self.cut();
        let is_reverse = self.is_reverse;
        self.rows.sort_unstable_by(|a, b| ordered(a, b, is_reverse));
        self.rows.shrink_to_fit();
        self.rows
    }
}

fn ordered<R: Ord>(a: &SortedRow<R>, b: &SortedRow<R>, is_reverse: bool) -> Ordering {
    if is_reverse { b.order(a) } else { a.order(b) }
}

/// Reads the objects of rows, some a hold, and writes them.
struct Reader<K: ObjectKind> {
    listing: Listing<K>,
    rows: std::vec::IntoIter<SortedRow<K::Row>>,
    /// The last of the rows, behind which there may be more.
    last: Option<SortedRow<K::Row>>,
    /// Whether there are, for all that is known.
    has_more: bool,
    /// Whose objects are read and not written yet.
    vhost: usize,
    objects: std::vec::IntoIter<K::Object>,
    writer: Writer<K::Object>,
}

impl<K: ObjectKind> Reader<K> {
    /// Of these rows alone.
    fn new(listing: Listing<K>, rows: Vec<SortedRow<K::Row>>, columns: &Columns) -> Self {
        let writer = Writer::new(K::FIELDS, columns);
        let (last, objects) = (rows.last().cloned(), Vec::new().into_iter());
        let rows = rows.into_iter();
        Reader { listing, rows, last, has_more: false, vhost: 0, objects, writer }
    }

    /// Reads further objects, all of one virtual host. Says whether there may be more.
    fn read(&mut self) -> bool {
        if self.rows.as_slice().is_empty() && self.has_more {
            let rows = self.listing.find_next(self.last.as_ref());
            self.has_more = self.listing.has_more(&rows);
            self.last = rows.last().cloned();
            self.rows = rows.into_iter();
        }
        let Some(first) = self.rows.as_slice().first() else { return false };
        self.vhost = first.vhost;
        let of_same = |row: &&SortedRow<K::Row>| row.vhost == self.vhost;
        let count = self.rows.as_slice().iter().take(OBJECTS_A_HOLD).take_while(of_same).count();
        let rows = &self.rows.as_slice()[..count];
        let objects: Vec<_> = self.listing.vhosts[self.vhost].1.read_with_peers(|vhost, peers| {
            rows.iter().filter_map(|it| K::read(vhost, peers, &it.row)).collect()
        });
        self.objects = objects.into_iter();
        self.rows.by_ref().take(count).for_each(drop);
        true
    }
}

impl<K: ObjectKind> Items for Reader<K> {
    fn write_next(&mut self, into: &mut Vec<u8>) -> bool {
        while self.objects.as_slice().is_empty() {
            if !self.read() {
                return false;
            }
        }
        let Some(object) = self.objects.next() else { return false };
        let Listing { app, registry, vhosts, .. } = &self.listing;
        let context = FieldContext { app, registry, vhost: &vhosts[self.vhost].0 };
        self.writer.write(&context, &object, into);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(most: usize, is_reverse: bool) -> Vec<u32> {
        let mut first_rows = FirstRows::new(most, is_reverse);
        for number in 0..10_000_u32 {
            // Each number below ten thousand once, in no order.
            let row = number * 7919 % 10_000;
            first_rows.push(SortedRow { key: SortKey::default(), vhost: 0, row });
            assert!(first_rows.rows.len() < (2 * most).max(ROWS_BEFORE_CUT));
        }
        first_rows.finish().into_iter().map(|it| it.row).collect()
    }

    #[test]
    fn the_first_of_many_are_kept() {
        for most in [1, 2, 999, 3000] {
            assert_eq!(kept(most, false), (0..most as u32).collect::<Vec<_>>());
            assert_eq!(kept(most, true)[..1], [9999]);
        }
        assert_eq!(kept(20_000, true), (0..10_000).rev().collect::<Vec<_>>());
    }

    #[test]
    fn places_are_visited_once_though_their_number_changes() {
        let (mut next, mut seen) = (0, Vec::new());
        assert!(step_places(1500, &mut next, |place| seen.push(place)));
        assert!(!step_places(900, &mut next, |place| seen.push(place)));
        assert!(!step_places(1200, &mut next, |place| seen.push(place)));
        assert_eq!(seen, (0..1200).collect::<Vec<_>>());
    }
}
