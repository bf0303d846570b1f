# Reads symbols, one a line, and prints of each its name as it stays from build to build, and the symbol, with a tab between.

# Of Rust's names the hash goes: `_ZN`, each part of the path after its length, then the hash. Closures count to the function
# that they are in. The standard library's names are of the newer kind, with hashes of crates in them.
function name(symbol,    rest, part, path) {
  if (symbol ~ /^_R/) gsub(/Cs[0-9A-Za-z]+_/, "C", symbol)
  if (symbol !~ /^_ZN.*17h[0-9a-f]+E/) return symbol
  rest = substr(symbol, 4)
  while (match(rest, /^[0-9]+/) && rest !~ /^17h[0-9a-f]+E/) {
    part = substr(rest, RLENGTH + 1, substr(rest, 1, RLENGTH))
    rest = substr(rest, RLENGTH + length(part) + 1)
    if (part ~ /^_\$u7b\$/) break
    path = path (path ? "::" : "") part
  }
  return path
}

{ print name($1) "\t" $1 }
