# Turns a text file into a C++ source that defines it as one string.
file(READ ${INPUT} TEXT)
file(SHA256 ${INPUT} DIGEST)
file(WRITE ${OUTPUT}
"// Generated from prelude.h.
extern const char* const preludeText;
extern const char* const preludeDigest;
const char* const preludeText = R\"PRELUDE(${TEXT})PRELUDE\";
const char* const preludeDigest = \"${DIGEST}\";
")
