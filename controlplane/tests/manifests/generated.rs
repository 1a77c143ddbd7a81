//! What is generated is committed as the code says.

use heddle_controlplane::generated;

use super::files;

#[test]
fn generated_files_are_as_the_code_says() {
    let wanted = generated::files().unwrap();
    for file in &wanted {
        let found = std::fs::read_to_string(files::root().join(&file.path)).unwrap_or_default();
        assert!(
            found == file.text,
            "manifests/{} is not what the code says: run `cargo xtask codegen`",
            file.path
        );
    }
    for entry in std::fs::read_dir(files::root().join(generated::DEFINITIONS)).unwrap() {
        let path =
            format!("{}/{}", generated::DEFINITIONS, entry.unwrap().file_name().into_string().unwrap());
        let known = wanted.iter().any(|file| file.path == path);
        assert!(known, "manifests/{path} is of no kind any more: run `cargo xtask codegen`");
    }
}
