//! No circles: files that import from each other in a ring can only be read, tested and changed together. `layers.rs` sees rooms, this
//! sees the files inside them.
//!
//! An import counts for the file that defines the name, whichever door it goes through. `mod`, re-exports and tests do not count.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail loudly"
)]
#![allow(clippy::wildcard_enum_match_arm, reason = "most kinds of items import nothing by themselves")]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use proc_macro2::{TokenStream, TokenTree};
use syn::{Attribute, ImplItemFn, Item, ItemUse, Macro, Meta, UseTree, Visibility, visit::Visit};

/// A path of Rust's, name by name. That of a module begins at the root of the crate.
type Names = Vec<String>;

/// Which files each file imports from.
type Imports = BTreeMap<PathBuf, BTreeSet<PathBuf>>;

#[test]
fn no_files_import_each_other_in_a_circle() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let imports = Modules::read(&source).imports();
    // A reader that finds nothing finds nothing wrong.
    let count = imports.values().map(BTreeSet::len).sum::<usize>();
    assert!(imports.len() > 200 && count > 1000, "{count} imports in {} files", imports.len());

    let found = circles(&imports);
    let found: Vec<String> = found.iter().map(|circle| arrows(circle, &imports)).collect();
    assert!(found.is_empty(), "files import from each other in a circle:\n{}", found.join("\n"));
}

#[test]
fn a_ring_is_found_however_its_files_name_each_other() {
    let ring = |first: &str, second: &str| {
        let mut modules = Modules::default();
        modules.add(&[], "lib.rs".into(), "mod a; mod b;");
        modules.add(
            &["a".into()],
            "a.rs".into(),
            &format!("pub struct A; pub mod inner {{ pub const DEEP: u8 = 0; }} {first}"),
        );
        modules.add(&["b".into()], "b.rs".into(), &format!("pub struct B; pub fn b() {{}} {second}"));
        circles(&modules.imports()).len() == 1
    };
    let there = "use crate::b::B; fn f(_: B) {}";

    for back in [
        "use crate::a::A;",
        "use super::a::{self, A as Other};",
        "use crate::a; fn f(_: a::A) {}",
        "use super::*; fn f() { let _ = a::inner::DEEP; }",
        "use super::a::*; fn f(_: A) {}",
        "use super::a::inner::*; fn f() { assert!(DEEP > 0); }",
        "fn f() { use crate::a::A; }",
        "fn f() { vec![super::a::A]; }",
        "impl Drop for crate::a::A { fn drop(&mut self) {} }",
    ] {
        assert!(ring(there, back), "{back}");
    }
    for none in [
        "pub use crate::a::A;",
        "use crate::a;",
        "#[cfg(test)] mod tests { use crate::a::A; }",
        "/// [`crate::a::A`]\nstruct C;",
        "use std::a::A;",
        "use super::a::*; struct A; fn f(_: A) {}",
    ] {
        assert!(!ring(there, none), "{none}");
    }
}

#[test]
fn what_is_imported_through_a_door_is_the_file_behind_it() {
    let mut modules = Modules::default();
    modules.add(&[], "lib.rs".into(), "mod room;");
    modules.add(&["room".into()], "room/mod.rs".into(), "mod a; mod b; pub use a::A; pub(crate) use b::*;");
    modules.add(&["room".into(), "a".into()], "room/a.rs".into(), "use super::B; pub struct A(B);");
    modules.add(
        &["room".into(), "b".into()],
        "room/b.rs".into(),
        "use crate::room::A; pub struct B; fn f(_: A) {}",
    );

    assert_eq!(circles(&modules.imports()).iter().map(line).collect::<Vec<_>>(), ["room/a.rs room/b.rs"]);
}

/// The modules of a crate, and every path that is named in them.
#[derive(Default)]
struct Modules {
    modules: BTreeMap<Names, Module>,
    paths: BTreeSet<(Names, Names)>,
}

/// One module: its file, what it defines, and what it imports.
#[derive(Default)]
struct Module {
    file: PathBuf,
    defines: BTreeSet<String>,
    imports: Vec<Import>,
}

struct Import {
    /// What it is called here; nothing where all is imported.
    name: Option<String>,
    path: Names,
    /// Whether others may import it from here.
    exported: bool,
}

impl Modules {
    fn read(source: &Path) -> Self {
        let mut modules = Self::default();
        let mut folders = vec![source.to_owned()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                } else if path.extension().is_some_and(|end| end == "rs") {
                    let file = path.strip_prefix(source).unwrap();
                    let mut name: Names = file
                        .with_extension("")
                        .iter()
                        .map(|part| part.to_str().unwrap().to_owned())
                        .collect();
                    name.pop_if(|last| last == "mod" || last == "lib");
                    modules.add(&name, file.to_owned(), &fs::read_to_string(&path).unwrap());
                }
            }
        }
        modules
    }

    fn add(&mut self, name: &[String], file: PathBuf, text: &str) {
        let parsed = syn::parse_file(text).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        if !is_test(&parsed.attrs) {
            self.add_items(name, &file, &parsed.items);
        }
    }

    fn add_items(&mut self, name: &[String], file: &Path, items: &[Item]) {
        let mut module = Module { file: file.to_owned(), ..Module::default() };
        for item in items.iter().filter(|item| !is_test(attributes(item))) {
            module.defines.extend(defined(item));
            match item {
                Item::Mod(inner) => {
                    if let Some((_, items)) = &inner.content {
                        self.add_items(&[name, &[inner.ident.to_string()]].concat(), file, items);
                    }
                }
                Item::Use(import) => {
                    let exported = !matches!(import.vis, Visibility::Inherited);
                    each_import(&import.tree, &mut Vec::new(), &mut |name, path| {
                        module.imports.push(Import { name, path, exported })
                    });
                }
                other => {
                    let mut paths = Paths::default();
                    paths.visit_item(other);
                    self.paths.extend(paths.0.into_iter().map(|path| (name.to_owned(), path)));
                }
            }
        }
        self.modules.insert(name.to_owned(), module);
    }

    /// Finds the file that defines what a path names, seen from a module. Nothing for other crates, and for a module itself.
    fn defining_file(&self, from: &[String], path: &[String], depth: usize) -> Option<&Path> {
        let (first, mut rest) = path.split_first()?;
        let mut at = match first.as_str() {
            "crate" | "octroi" => Vec::new(),
            "self" => from.to_owned(),
            "super" => from.split_last()?.1.to_owned(),
            _ => return self.within(from, path, depth, false),
        };
        while let Some((_, behind)) = rest.split_first().filter(|(next, _)| *next == "super") {
            at.pop()?;
            rest = behind;
        }
        self.within(&at, rest, depth, true)
    }

    /// The same in one module. `ours` says that the path can only be of this crate, so that a macro defined what is not found.
    fn within(&self, at: &[String], path: &[String], depth: usize, ours: bool) -> Option<&Path> {
        // Modules may import each other's everything.
        if depth > 24 {
            return None;
        }
        let module = self.modules.get(at)?;
        let (first, rest) = path.split_first()?;
        let inner = [at, std::slice::from_ref(first)].concat();
        if module.defines.contains(first) {
            return Some(&module.file);
        }
        if self.modules.contains_key(&inner) {
            return self.within(&inner, rest, depth + 1, true);
        }
        if let Some(import) = module.imports.iter().find(|import| import.name.as_ref() == Some(first)) {
            let itself = import.path == [first.as_str()];
            return if itself {
                None
            } else {
                self.defining_file(at, &[&import.path, rest].concat(), depth + 1)
            };
        }
        let globs = module.imports.iter().filter(|import| import.name.is_none());
        let found = globs
            .into_iter()
            .find_map(|glob| self.defining_file(at, &[&glob.path, path].concat(), depth + 1));
        found.or_else(|| Some(module.file.as_path()).filter(|_| ours && !at.is_empty() && depth == 0))
    }

    fn imports(&self) -> Imports {
        let own = |(name, module): (&Names, &Module)| -> Vec<(Names, Names)> {
            let own = module.imports.iter().filter(|import| !import.exported && import.name.is_some());
            own.map(|import| (name.clone(), import.path.clone())).collect()
        };
        let mut imports = Imports::new();
        for (name, path) in self.modules.iter().flat_map(own).chain(self.paths.iter().cloned()) {
            let from = &self.modules[&name].file;
            if let Some(to) = self.defining_file(&name, &path, 0).filter(|to| to != from) {
                imports.entry(from.clone()).or_default().insert(to.to_owned());
            }
        }
        imports
    }
}

/// Every path, in macros too. One of a single name may come from `use …::*`.
#[derive(Default)]
struct Paths(Vec<Names>);

impl<'ast> Visit<'ast> for Paths {
    fn visit_item(&mut self, item: &'ast Item) {
        if !is_test(attributes(item)) {
            syn::visit::visit_item(self, item);
        }
    }

    fn visit_impl_item_fn(&mut self, function: &'ast ImplItemFn) {
        if !is_test(&function.attrs) {
            syn::visit::visit_impl_item_fn(self, function);
        }
    }

    fn visit_item_use(&mut self, import: &'ast ItemUse) {
        each_import(&import.tree, &mut Vec::new(), &mut |_, path| self.0.push(path));
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        if path.leading_colon.is_none() {
            self.0.push(path.segments.iter().map(|segment| segment.ident.to_string()).collect());
        }
        syn::visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, called: &'ast Macro) {
        self.visit_path(&called.path);
        self.add_tokens(called.tokens.clone());
    }

    fn visit_visibility(&mut self, _: &'ast Visibility) {}

    fn visit_attribute(&mut self, _: &'ast Attribute) {}
}

impl Paths {
    /// Finds paths in what only a macro understands: names between `::`.
    fn add_tokens(&mut self, stream: TokenStream) {
        let (mut path, mut colons) = (Names::new(), 0);
        for token in stream {
            match token {
                TokenTree::Ident(name) => {
                    if colons != 2 {
                        self.add(std::mem::take(&mut path));
                    }
                    path.push(name.to_string());
                    colons = 0;
                }
                TokenTree::Punct(mark) if mark.as_char() == ':' => colons += 1,
                TokenTree::Punct(_) | TokenTree::Literal(_) => self.add(std::mem::take(&mut path)),
                TokenTree::Group(group) => {
                    self.add(std::mem::take(&mut path));
                    self.add_tokens(group.stream());
                }
            }
        }
        self.add(path);
    }

    fn add(&mut self, path: Names) {
        self.0.extend(Some(path).filter(|path| !path.is_empty()));
    }
}

/// Gives each import of a `use` its name and its path.
fn each_import(tree: &UseTree, path: &mut Names, each: &mut impl FnMut(Option<String>, Names)) {
    let whole = |path: &Names, last: &str| {
        if last == "self" { path.clone() } else { [path.as_slice(), &[last.to_owned()]].concat() }
    };
    match tree {
        UseTree::Path(inner) => {
            path.push(inner.ident.to_string());
            each_import(&inner.tree, path, each);
            path.pop();
        }
        UseTree::Name(name) => {
            let whole = whole(path, &name.ident.to_string());
            each(whole.last().cloned(), whole);
        }
        UseTree::Rename(name) => each(Some(name.rename.to_string()), whole(path, &name.ident.to_string())),
        UseTree::Glob(_) => each(None, path.clone()),
        UseTree::Group(group) => group.items.iter().for_each(|tree| each_import(tree, path, each)),
    }
}

fn defined(item: &Item) -> Option<String> {
    let name = match item {
        Item::Const(item) => &item.ident,
        Item::Enum(item) => &item.ident,
        Item::Fn(item) => &item.sig.ident,
        Item::Macro(item) => item.ident.as_ref()?,
        Item::Static(item) => &item.ident,
        Item::Struct(item) => &item.ident,
        Item::Trait(item) => &item.ident,
        Item::Type(item) => &item.ident,
        _ => return None,
    };
    Some(name.to_string())
}

fn attributes(item: &Item) -> &[Attribute] {
    match item {
        Item::Const(item) => &item.attrs,
        Item::Enum(item) => &item.attrs,
        Item::Fn(item) => &item.attrs,
        Item::Impl(item) => &item.attrs,
        Item::Macro(item) => &item.attrs,
        Item::Mod(item) => &item.attrs,
        Item::Static(item) => &item.attrs,
        Item::Struct(item) => &item.attrs,
        Item::Trait(item) => &item.attrs,
        Item::Type(item) => &item.attrs,
        Item::Use(item) => &item.attrs,
        _ => &[],
    }
}

/// Says whether something is there for tests alone, or for fuzzing.
fn is_test(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| match &attribute.meta {
        Meta::Path(path) => path.is_ident("test"),
        Meta::List(list) if list.path.is_ident("cfg") => {
            let words = list.tokens.to_string();
            ["test", "any (test", "all (test", "fuzzing", "feature = \"fuzz"]
                .iter()
                .any(|begin| words.starts_with(begin))
        }
        Meta::List(_) | Meta::NameValue(_) => false,
    })
}

/// Finds the groups of files that reach each other.
fn circles(imports: &Imports) -> Vec<BTreeSet<PathBuf>> {
    let reached_from = |file: &PathBuf| {
        let (mut seen, mut open) = (BTreeSet::new(), vec![file]);
        while let Some(at) = open.pop() {
            open.extend(imports.get(at).into_iter().flatten().filter(|next| seen.insert((*next).clone())));
        }
        seen
    };
    let reached: BTreeMap<&PathBuf, BTreeSet<PathBuf>> =
        imports.keys().map(|file| (file, reached_from(file))).collect();
    let ring = |(file, others): (&&PathBuf, &BTreeSet<PathBuf>)| -> BTreeSet<PathBuf> {
        others
            .iter()
            .filter(|other| reached.get(other).is_some_and(|back| back.contains(*file)))
            .cloned()
            .collect()
    };
    let rings: BTreeSet<BTreeSet<PathBuf>> =
        reached.iter().map(ring).filter(|ring| !ring.is_empty()).collect();
    rings.into_iter().collect()
}

fn line(circle: &BTreeSet<PathBuf>) -> String {
    circle.iter().map(|file| file.display().to_string()).collect::<Vec<_>>().join(" ")
}

/// Says which file of a circle imports from which.
fn arrows(circle: &BTreeSet<PathBuf>, imports: &Imports) -> String {
    let arrow = |file: &PathBuf| {
        format!("{} -> {}\n", file.display(), line(&imports[file].intersection(circle).cloned().collect()))
    };
    circle.iter().map(arrow).collect()
}
