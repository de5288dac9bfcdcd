//! A real folder, changed as editors, kubectl and people change it.
#![expect(clippy::unwrap_used, reason = "a helper of tests may panic as they do")]

use outrigger_cluster::{Change, FolderError, Key, Kind, World, folder};
use std::fs;
use std::path::PathBuf;
use std::time::Duration;
use tempfile::TempDir;
use tokio::sync::mpsc::Receiver;
use tokio::time::timeout;

/// Long enough for a slow machine and a rescan.
const PATIENCE: Duration = Duration::from_secs(20);
/// Several times what a burst of events takes.
const SILENCE: Duration = Duration::from_millis(400);

struct Mesh {
    folder: TempDir,
    batches: Receiver<Vec<Change>>,
    world: World,
}

impl Mesh {
    async fn of(files: &[(&str, String)]) -> Self {
        let folder = TempDir::new().unwrap();
        let write = |(name, text): &(&str, String)| fs::write(folder.path().join(name), text).unwrap();
        files.iter().for_each(write);
        let batches = folder::watch(folder.path().to_owned(), Some("10.96.0.0/12".parse().unwrap())).await.unwrap();
        let mut mesh = Self { folder, batches, world: World::default() };
        mesh.next().await;
        mesh
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).unwrap();
    }

    /// The next batch, applied.
    async fn next(&mut self) -> Vec<Change> {
        let batch = timeout(PATIENCE, self.batches.recv()).await.expect("no batch came").unwrap();
        batch.iter().for_each(|change| self.world.apply(change));
        batch
    }

    async fn is_silent(&mut self) {
        assert!(timeout(SILENCE, self.batches.recv()).await.is_err(), "a batch came");
    }

    fn port(&self, service: &str) -> Option<u16> {
        self.world.services.get(&Key::new("default", service)).map(|service| service.ports[0].port)
    }
}

fn service(name: &str, port: u16) -> String {
    format!("apiVersion: v1\nkind: Service\nmetadata: {{name: {name}}}\nspec: {{ports: [{{port: {port}}}]}}\n")
}

#[tokio::test]
async fn the_first_batch_is_complete_and_may_be_empty() {
    assert_eq!(Mesh::of(&[]).await.world, World::default());
    let mesh =
        Mesh::of(&[("a.yaml", service("a", 1)), ("b.yml", service("b", 2)), ("c.json", "{}".replace("{}", ""))]).await;
    assert_eq!((mesh.port("a"), mesh.port("b"), mesh.world.services.len()), (Some(1), Some(2), 2));
    let ip = mesh.world.services[&Key::new("default", "a")].cluster_ips[0];
    assert!("10.96.0.0/12".parse::<ipnet::IpNet>().unwrap().contains(&ip));
}

#[tokio::test]
async fn files_are_added_changed_broken_mended_and_removed() {
    let mut mesh = Mesh::of(&[("a.yaml", service("a", 1))]).await;
    mesh.write("b.yaml", &service("b", 2));
    assert_eq!(mesh.next().await.len(), 1);
    assert_eq!((mesh.port("a"), mesh.port("b")), (Some(1), Some(2)));

    mesh.write("a.yaml", &service("a", 3));
    mesh.next().await;
    assert_eq!(mesh.port("a"), Some(3));

    mesh.write("a.yaml", "apiVersion: v1\nkind: Service\nmetadata: {name: a\n");
    mesh.is_silent().await;
    mesh.write("b.yaml", &service("b", 4));
    mesh.next().await;
    assert_eq!((mesh.port("a"), mesh.port("b")), (Some(3), Some(4)), "a broken file keeps its objects alone");

    mesh.write("a.yaml", &service("a", 5));
    mesh.next().await;
    assert_eq!(mesh.port("a"), Some(5));

    fs::remove_file(mesh.path("a.yaml")).unwrap();
    assert_eq!(mesh.next().await, [Change::Delete(Kind::Service, Key::new("default", "a"))]);
}

#[tokio::test]
async fn what_changes_no_object_sends_nothing() {
    let mut mesh = Mesh::of(&[("a.yaml", service("a", 1))]).await;
    mesh.write("a.yaml", &service("a", 1));
    fs::File::open(mesh.path("a.yaml")).unwrap().set_modified(std::time::SystemTime::now()).unwrap();
    mesh.write("a.yaml", &format!("# a comment\n{}", service("a", 1)));
    mesh.write("notes.txt", "apiVersion: {");
    mesh.write(".hidden.yaml", "apiVersion: {");
    mesh.is_silent().await;
    // And it is not deaf: the next real change arrives.
    mesh.write("a.yaml", &service("a", 2));
    assert_eq!(mesh.next().await.len(), 1);
}

#[tokio::test]
async fn an_editors_rename_over_the_file_and_a_new_subfolder_are_seen() {
    let mut mesh = Mesh::of(&[("a.yaml", service("a", 1))]).await;
    mesh.write(".a.yaml.swp", &service("a", 2));
    fs::rename(mesh.path(".a.yaml.swp"), mesh.path("a.yaml")).unwrap();
    mesh.next().await;
    assert_eq!(mesh.port("a"), Some(2));

    fs::create_dir_all(mesh.path("deep/er")).unwrap();
    mesh.write("deep/er/b.yaml", &service("b", 1));
    mesh.next().await;
    assert_eq!(mesh.port("b"), Some(1));

    fs::rename(mesh.path("deep"), mesh.path("deeper")).unwrap();
    mesh.write("deeper/er/b.yaml", &service("b", 2));
    mesh.next().await;
    assert_eq!((mesh.port("b"), mesh.world.services.len()), (Some(2), 2));
}

#[tokio::test]
async fn an_object_that_moves_to_another_file_is_one_change() {
    let mut mesh = Mesh::of(&[("a.yaml", service("a", 1)), ("b.yaml", service("b", 1))]).await;
    mesh.write("b.yaml", &format!("{}---\n{}", service("b", 1), service("a", 2)));
    mesh.write("a.yaml", "# moved to b.yaml\n");
    assert_eq!(mesh.next().await.len(), 1);
    assert_eq!((mesh.port("a"), mesh.port("b")), (Some(2), Some(1)));
}

#[tokio::test]
async fn an_object_in_two_files_stays_where_it_was() {
    let mut mesh = Mesh::of(&[("a.yaml", service("a", 1)), ("b.yaml", service("b", 1))]).await;
    mesh.write("b.yaml", &format!("{}---\n{}", service("b", 2), service("a", 2)));
    mesh.is_silent().await;
    mesh.write("a.yaml", &service("c", 1));
    mesh.next().await;
    assert_eq!((mesh.port("a"), mesh.port("b"), mesh.port("c")), (Some(2), Some(2), Some(1)));
}

#[tokio::test]
async fn an_emptied_file_keeps_its_objects() {
    let mut mesh = Mesh::of(&[("a.yaml", service("a", 1))]).await;
    mesh.write("a.yaml", "");
    mesh.is_silent().await;
    mesh.write("a.yaml", &service("a", 2));
    mesh.next().await;
    assert_eq!(mesh.port("a"), Some(2));
}

#[tokio::test]
async fn a_lost_folder_keeps_the_last_state_and_may_come_back() {
    let mut mesh = Mesh::of(&[("a.yaml", service("a", 1))]).await;
    let (folder, aside) = (mesh.folder.path().to_owned(), mesh.folder.path().with_extension("aside"));
    fs::rename(&folder, &aside).unwrap();
    mesh.is_silent().await;
    fs::create_dir(&folder).unwrap();
    mesh.write("a.yaml", &service("a", 2));
    mesh.next().await;
    assert_eq!(mesh.port("a"), Some(2));
    // The new folder is watched, too: this arrives long before the next rescan.
    mesh.write("a.yaml", &service("a", 3));
    timeout(Duration::from_secs(2), mesh.next()).await.expect("the new folder is not watched");
    fs::remove_dir_all(aside).unwrap();
}

#[tokio::test]
async fn a_folder_that_is_wrong_at_first_is_refused_with_every_fault() {
    let folder = TempDir::new().unwrap();
    let broken = folder.path().join("sub");
    fs::create_dir(&broken).unwrap();
    fs::write(broken.join("a.yaml"), "apiVersion: v1\nkind: Service\n").unwrap();
    fs::write(folder.path().join("b.yaml"), format!("{}---\n{}", service("b", 1), service("b", 2))).unwrap();
    let error = folder::watch(folder.path().to_owned(), None).await.unwrap_err();
    let FolderError::Invalid { errors, .. } = &error else { panic!("{error}") };
    let problems: Vec<_> = errors.iter().map(|e| (e.file.strip_prefix(folder.path()).unwrap(), e.line)).collect();
    let file = |name: &'static str| std::path::Path::new(name);
    assert_eq!(problems, [(file("b.yaml"), Some(1)), (file("b.yaml"), Some(6)), (file("sub/a.yaml"), Some(1))]);
    assert!(error.to_string().contains("sub/a.yaml:1: Service: metadata.name: missing"), "{error}");

    let missing = folder::watch(folder.path().join("nowhere"), None).await.unwrap_err();
    assert!(missing.to_string().contains("nowhere: No such file"), "{missing}");
}
