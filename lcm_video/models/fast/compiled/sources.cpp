// Which sources this was built from: a library that was built from others is not used.
extern "C" const char *sources() { return SOURCES; }
