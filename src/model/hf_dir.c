#include "source.h"
int source_open_hf(struct model_source *s, const char *path, struct err *e)
{
    (void)s;
    return err_set(e, ST_UNSUPPORTED, "%s: folders are not read yet", path);
}
