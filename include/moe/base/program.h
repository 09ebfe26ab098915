#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace moe {

/// Tells how this program was called, argv[0], for hints that people paste into a shell. Only main
/// sets it, before anything else runs.
void set_program(std::string_view called);

/// How it was called where that is a path, "build/makemoe"; else "makemoe". Quoted for a shell.
std::string program();

/// `word` as a shell reads it back: in quotes where it needs them.
std::string shell_quoted(std::string_view word);

/// A command line of this program to paste into a shell: program(), then `words`, each quoted.
std::string command_line(const std::vector<std::string>& words);

}  // namespace moe
