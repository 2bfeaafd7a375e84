//! Says where the library of the model is.
fn main() {
    let bundle = std::env::var("CARGO_MANIFEST_DIR").unwrap();
    println!("cargo:rustc-link-search=native={bundle}");
    println!("cargo:rustc-link-lib=@link_kind@=@name@");
    println!("cargo:rerun-if-changed=@link_file@");
}
