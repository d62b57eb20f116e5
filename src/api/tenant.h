/* SPDX-License-Identifier: Apache-2.0 */
/* tenant.h - inside of api: what a tenant has used of its limits, and what of it stands in a
 * request to the engine. Loop thread.
 *
 * Tokens per minute are a bucket that holds a minute's worth and fills at that rate. A request gets
 * in while something is left; its prompt is taken out then, each generated token when it ends,
 * however it ends, so the bucket may be in debt and the next request waits it off. The prompt of a
 * request that the server gave up before its first token is put back; that of one whose client left
 * is not, for it may have been computed.
 */
#ifndef QUIRE_API_TENANT_H
#define QUIRE_API_TENANT_H

#include "handler.h"
#include "msg.h"
#include "state.h"
#include "tenants.h"

/* What a tenant has in hand, by index in struct tenants. */
struct tenant_use {
    int32_t n_requests; /* that got in and have not ended */
    int64_t n_seqs;     /* of these requests */
    double tokens;      /* in the bucket at at_us */
    int64_t at_us;
    int64_t n_asked, n_refused; /* requests; n_asked counts the refused ones, too */
    int64_t n_prompt, n_made;   /* tokens of requests that ended */
};

/* Memory for all tenants of a->http; and its end. */
void tenants_open(struct api *a);
void tenants_close(struct api *a);

/* Is there a place for n_seqs sequences more of r's tenant? One place in RESERVE of all is for
 * tenants that hold no more than that, so no one can fill the queue for the others. */
bool tenant_has_place(const struct api *a, const struct req *r, int64_t n_seqs);

/* r's tenant wants to run that. 0, or ST_RATE_LIMIT with the tenant's own bound in *e and the time
 * until it is worth trying again in r->retry_after. Who got in leaves once, with the same need:
 * n_made tokens were generated; prompt_back: the prompt is not charged. */
struct tenant_need {
    int64_t n_prompt, n_seqs;
};
int tenant_enter(struct api *a, struct req *r, const struct tenant_need *need, struct err *e);
void tenant_leave(struct api *a, const struct req *r, const struct tenant_need *need,
                  int64_t n_made, bool prompt_back);

/* The tenant's part of a message: its id, weight and bounds, and its namespace with that salt. */
void tenant_fill(const struct api *a, const struct req *r, const char *salt, size_t n_salt,
                 struct msg_submit *m);

/* Series by tenant, appended to the metrics: of the one who asks, or of all for an operator. */
void tenant_metrics(const struct api *a, const struct tenant *asks, struct buf *out);
/* A log line for each tenant with a name that ever asked. */
void tenant_dump(const struct api *a);

#endif
