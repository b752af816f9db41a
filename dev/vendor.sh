#!/bin/sh
# Copies the pinned npm files that static/vendor/ is made of; run it by hand after changing a version here.
set -eu
cd "$(dirname "$0")/.."
vendor="$PWD/static/vendor"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

INTER=5.3.0
TABLER=3.51.0
PLOTLY=4.1.1
ICONS="home search calendar-event star lifebuoy scale credit-card receipt-refund book-2 chart-bar arrows-exchange webhook
building-store luggage users user-shield shield-check stack-2 heartbeat settings flask menu-2 x contrast chevron-left
chevron-right circle-check alert-triangle info-circle clock copy keyboard logout mail note external-link lock circle-dot
inbox checks file-import"

cd "$work"
npm install --silent --ignore-scripts --no-save "@fontsource-variable/inter@$INTER" "@tabler/icons@$TABLER" \
  "plotly.js-basic-dist-min@$PLOTLY"

mkdir -p "$vendor/inter" "$vendor/tabler-icons" "$vendor/plotly"
inter=node_modules/@fontsource-variable/inter
cp "$inter/LICENSE" "$inter/files/inter-latin-wght-normal.woff2" "$inter/files/inter-latin-ext-wght-normal.woff2" "$vendor/inter/"

plotly=node_modules/plotly.js-basic-dist-min
cp "$plotly/LICENSE" "$plotly/plotly-basic.min.js" "$vendor/plotly/"

# One file with a <symbol> per icon, so that a page fetches all of them at once and colours them with CSS.
tabler=node_modules/@tabler/icons
cp "$tabler/LICENSE" "$vendor/tabler-icons/"
{
  echo '<svg xmlns="http://www.w3.org/2000/svg">'
  for icon in $ICONS; do
    echo "<symbol id=\"$icon\" viewBox=\"0 0 24 24\">"
    grep '^  <' "$tabler/icons/outline/$icon.svg" | grep -v 'stroke="none"'
    echo '</symbol>'
  done
  echo '</svg>'
} > "$vendor/tabler-icons/sprite.svg"
