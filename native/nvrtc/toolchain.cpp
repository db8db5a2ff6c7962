// Source to image with the system's g++: preprocess, find the kernels, compile with checks before every access, link.
//   -fsanitize=thread      a call before every load and store      -> device/access.cpp
//   -fsanitize=alignment…  a call where behaviour is undefined     -> device/access.cpp
// ORION_CXX names another compiler; it must be a g++.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <dlfcn.h>
#include <filesystem>
#include <fstream>
#include <map>
#include <sstream>
#include <sys/wait.h>
#include <unistd.h>

#include "nvrtc/image.h"
#include "nvrtc/program.h"

extern const char* const preludeText;
extern const char* const preludeDigest;

namespace soft {

namespace {

namespace fs = std::filesystem;

constexpr char Marker[] = "__soft_global__";
constexpr char BoundsMarker[] = "SOFT_LAUNCH_BOUNDS";
constexpr char CompileFlags[] =
    "-O2 -g1 -fPIC -fvisibility=hidden -fno-exceptions -fno-rtti -fno-strict-aliasing -fno-math-errno "
    "-fno-stack-protector -w -fsanitize=thread --param tsan-instrument-func-entry-exit=0 "
    "-fsanitize=alignment,bounds,signed-integer-overflow,shift,integer-divide-by-zero -fno-sanitize-recover=all";

// One rounding an operation, or, where the source is to be computed as loosely as a card may (prelude.h), products and sums in one.
constexpr char ExactFlags[] = " -ffp-contract=off", CardFlags[] = " -ffp-contract=fast -mfma", CardRounding[] = "SOFT_CARD_ROUNDING";

std::string quoted(const std::string& text) {
    std::string out = "'";
    for (char c : text) out += c == '\'' ? std::string("'\\''") : std::string(1, c);
    return out + "'";
}

std::string compiler() {
    const char* chosen = getenv("ORION_CXX");
    return quoted(chosen && *chosen ? chosen : "g++");
}

// Runs a command; its output, both streams, is appended.
int run(const std::string& command, std::string& output) {
    FILE* pipe = popen(("{ " + command + "; } 2>&1").c_str(), "r");
    if (!pipe) return -1;
    char buffer[4096];
    size_t got;
    while ((got = fread(buffer, 1, sizeof buffer, pipe)) > 0) output.append(buffer, got);
    const int status = pclose(pipe);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

class TemporaryFolder {
public:
    TemporaryFolder() {
        std::string pattern = (fs::temp_directory_path() / "softcuda-XXXXXX").string();
        if (mkdtemp(pattern.data())) path = pattern;
    }
    ~TemporaryFolder() {
        std::error_code ignored;
        if (!path.empty()) fs::remove_all(path, ignored);
    }
    TemporaryFolder(const TemporaryFolder&) = delete;
    fs::path path;
};

void writeFile(const fs::path& path, const std::string& text) { std::ofstream(path, std::ios::binary) << text; }

std::string readFile(const fs::path& path) {
    std::ostringstream text;
    text << std::ifstream(path, std::ios::binary).rdbuf();
    return text.str();
}

bool isWord(char c) { return isalnum(static_cast<unsigned char>(c)) || c == '_'; }

// Where the parenthesis that opens at `open` ends, past it.
size_t pastParenthesis(const std::string& text, size_t open) {
    int depth = 0;
    for (size_t at = open; at < text.size(); at++) {
        if (text[at] == '(') depth++;
        if (text[at] == ')' && --depth == 0) return at + 1;
    }
    return text.size();
}

void blank(std::string& text, size_t from, size_t to) {
    for (size_t at = from; at < to; at++)
        if (text[at] != '\n') text[at] = ' ';
}

// Takes the launch bounds out of preprocessed text. The first of a bound, an expression, is what no launch may exceed.
std::string takeBounds(std::string& text, size_t from, size_t to) {
    std::string threads = "1024";
    for (size_t at; (at = text.find(BoundsMarker, from)) < to;) {
        const size_t open = text.find('(', at), end = pastParenthesis(text, open);
        int depth = 0;
        size_t comma = open + 1;
        for (; comma < end - 1 && (depth > 0 || text[comma] != ','); comma++) depth += (text[comma] == '(') - (text[comma] == ')');
        threads = text.substr(open + 1, comma - open - 1);
        blank(text, at, end);
    }
    return threads;
}

// The extern "C" kernels in preprocessed text with their launch bounds: the word before the first parenthesis after the marker. Takes markers and
// bounds out of the text.
std::map<std::string, std::string> takeKernels(std::string& text) {
    std::map<std::string, std::string> kernels;
    for (size_t at = 0; (at = text.find(Marker, at)) != std::string::npos;) {
        const size_t marker = at;
        at += strlen(Marker);
        const std::string threads = takeBounds(text, marker, std::min(text.find_first_of("{;", at), text.size()));
        size_t end = text.find('(', at);
        if (end == std::string::npos) break;
        while (end > at && isspace(static_cast<unsigned char>(text[end - 1]))) end--;
        size_t start = end;
        while (start > at && isWord(text[start - 1])) start--;
        const size_t statement = text.find_last_of(";}", marker);
        const std::string before = text.substr(statement == std::string::npos ? 0 : statement, marker - (statement == std::string::npos ? 0 : statement));
        if (before.find("extern \"C\"") != std::string::npos && start < end) kernels[text.substr(start, end - start)] = threads;
        blank(text, marker, marker + strlen(Marker));
    }
    takeBounds(text, 0, text.size());
    return kernels;
}

std::string tableOf(const std::map<std::string, std::string>& kernels) {
    std::string table = "\n# 1 \"kernel table\"\nextern \"C\" {\n"
                        "extern __attribute__((visibility(\"default\"))) const SoftKernelEntry soft_kernel_table[];\n"
                        "const SoftKernelEntry soft_kernel_table[] = {\n";
    for (const auto& [name, threads] : kernels)
        table += "{\"" + name + "\", SoftKernel<" + name + ">::entry, SoftKernel<" + name + ">::bytes, SoftKernel<" + name +
                 ">::count, " + threads + "},\n";
    return table + "{nullptr, nullptr, nullptr, 0, 0}};\n}\n";
}

// The folder of this library, where libcuda_soft.so lies too.
std::string libraryFolder() {
    Dl_info info;
    if (!dladdr(reinterpret_cast<const void*>(&preludeText), &info)) return ".";
    return fs::absolute(info.dli_fname).parent_path().string();
}

// Paths of the temporary folder mean nothing to the reader of an error.
std::string withoutFolder(std::string log, const std::string& folder) {
    for (size_t at; (at = log.find(folder + "/")) != std::string::npos;) log.erase(at, folder.size() + 1);
    return log;
}

NvrtcStatus compileIn(const std::string& folder, Program& program, const Options& options) {
    const fs::path at = folder;
    for (const auto& [name, text] : program.headers) {
        if (name.find("..") != std::string::npos || name.starts_with("/")) {
            program.log = "nvrtc: error: header name " + name + " leaves the program";
            return NvrtcInvalidInput;
        }
        fs::create_directories((at / name).parent_path());
        writeFile(at / name, text);
    }
    const std::string sourceName = program.name.empty() ? "default_program" : fs::path(program.name).filename().string();
    writeFile(at / sourceName, program.source);
    writeFile(at / "prelude.h", preludeText);

    const std::string standard = " -std=" + quoted(options.standard);
    std::string preprocess = "cd " + quoted(folder) + " && " + compiler() + standard + " -E -x c++ -nostdinc -I. -include prelude.h" +
                             " -D__global__=" + Marker + " -D__CUDA_ARCH__=" + std::to_string(options.architecture * 10) +
                             " -D__CUDACC_RTC__=1";
    for (const std::string& definition : options.definitions) preprocess += " -D" + quoted(definition);
    preprocess += " " + quoted(sourceName) + " -o kernels.ii";
    if (const int status = run(preprocess, program.log)) {
        if (status == 127) program.log += "softcuda: no g++ here; install it, or name one in ORION_CXX\n";
        return status == 127 ? NvrtcBuiltinOperation : NvrtcCompilation;
    }
    std::string text = readFile(at / "kernels.ii");
    const std::string table = tableOf(takeKernels(text));
    writeFile(at / "kernels.ii", text + table);

    const bool asACard = std::find(options.definitions.begin(), options.definitions.end(), CardRounding) != options.definitions.end();
    const std::string build = "cd " + quoted(folder) + " && " + compiler() + standard + " -x c++-cpp-output " + CompileFlags + (asACard ? CardFlags : ExactFlags) + " -c kernels.ii -o kernels.o && " + compiler() +
                              " -shared -Wl,-z,defs -o kernels.so kernels.o -L" + quoted(libraryFolder()) + " -lcuda_soft -lm";
    if (run(build, program.log)) return NvrtcCompilation;
    const std::string object = readFile(at / "kernels.so");
    ImageHeader header;
    memcpy(header.magic, ImageMagic, sizeof header.magic);
    header.bytes = object.size();
    program.image.assign(reinterpret_cast<const char*>(&header), sizeof header);
    program.image += object;
    return NvrtcSuccess;
}

}  // namespace

NvrtcStatus compile(Program& program, const Options& options) {
    TemporaryFolder folder;
    program.log.clear();
    program.image.clear();
    if (folder.path.empty()) {
        program.log = "softcuda: no temporary folder can be made";
        return NvrtcBuiltinOperation;
    }
    const NvrtcStatus status = compileIn(folder.path.string(), program, options);
    program.log = withoutFolder(program.log, folder.path.string());
    return status;
}

const std::string& fingerprint() {
    static const std::string print = [] {
        std::string version;
        run(compiler() + " -dumpfullversion -dumpmachine", version);
        return std::string(preludeDigest) + " " + std::string(ImageMagic, sizeof ImageMagic) + " " + version + " " + CompileFlags + ExactFlags + CardFlags;
    }();
    return print;
}

}  // namespace soft
