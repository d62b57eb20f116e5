/* SPDX-License-Identifier: Apache-2.0 */
/* replay_main.c - runs a fuzz target on the files of its corpus, without libFuzzer.
 *   replay_x FOLDER-OR-FILE...
 * Every file is also tried without its last byte and with each half alone, so that a small corpus
 * reaches cut inputs too. Fails when there was no file. */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

enum { MAX_FILE = 1 << 20 };

/* From a block of exactly n bytes, so that a sanitizer sees a read past the end. */
static void run(const uint8_t *data, size_t n)
{
    uint8_t *copy = malloc(n ? n : 1);
    if (!copy)
        exit(1);
    memcpy(copy, data, n);
    LLVMFuzzerTestOneInput(copy, n);
    free(copy);
}

static int replay_file(const char *path)
{
    static uint8_t data[MAX_FILE];
    FILE *f = fopen(path, "rb");
    size_t n;
    if (!f)
        return -1;
    n = fread(data, 1, sizeof data, f);
    fclose(f);
    fprintf(stderr, "%s\n", path); /* the last one shown is the one that failed */
    run(data, n);
    if (n) {
        run(data, n - 1);
        run(data, n / 2);
        run(data + n / 2, n - n / 2);
    }
    return 1;
}

static int replay_folder(const char *path)
{
    struct dirent **list;
    int n = scandir(path, &list, NULL, alphasort), files = 0;
    for (int i = 0; i < n; i++) {
        char file[1024];
        int len = snprintf(file, sizeof file, "%s/%s", path, list[i]->d_name);
        if (list[i]->d_name[0] != '.' && len < (int)sizeof file && replay_file(file) > 0)
            files++;
        free(list[i]);
    }
    if (n >= 0)
        free(list);
    return files;
}

int main(int argc, char **argv)
{
    int files = 0;
    for (int i = 1; i < argc; i++) {
        struct stat st;
        if (stat(argv[i], &st) == 0)
            files += S_ISDIR(st.st_mode) ? replay_folder(argv[i]) : replay_file(argv[i]) > 0;
    }
    printf("%d inputs replayed\n", files);
    return files > 0 ? 0 : 1;
}
