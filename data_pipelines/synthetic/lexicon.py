"""Word lists shared by several topics, English | French | German, in the format of forms.py."""

from audiopalm.data_pipelines.synthetic import forms

COLORS = forms.adjectives("""
  red | rouge | rot
  green | vert verte | grün
  blue | bleu bleue | blau
  black | noir noire | schwarz
  white | blanc blanche | weiß
  yellow | jaune | gelb
  grey | gris grise | grau
  brown | brun brune | braun
""")

THINGS = forms.nouns("""
  car cars | voiture voitures f | auto autos n
  bike bikes | vélo vélos m | fahrrad fahrräder n
  shirt shirts | chemise chemises f | hemd hemden n
  hat hats | chapeau chapeaux m | hut hüte m
  coat coats | manteau manteaux m | mantel mäntel m
  bag bags | sac sacs m | tasche taschen f
  lamp lamps | lampe lampes f | lampe lampen f
  chair chairs | chaise chaises f | stuhl stühle m
  table tables | table tables f | tisch tische m
  book books | livre livres m | buch bücher n
  clock clocks | horloge horloges f | uhr uhren f
  umbrella umbrellas | parapluie parapluies m | regenschirm regenschirme m
""")

CITIES = forms.entries("""
  paris | paris | paris
  london | londres | london
  berlin | berlin | berlin
  rome | rome | rom
  madrid | madrid | madrid
  vienna | vienne | wien
  geneva | genève | genf
  brussels | bruxelles | brüssel
  munich | munich | münchen
  lisbon | lisbonne | lissabon
  cologne | cologne | köln
  zurich | zurich | zürich
  milan | milan | mailand
  hamburg | hambourg | hamburg
  prague | prague | prag
  warsaw | varsovie | warschau
""")

DAYS = forms.entries("""
  monday | lundi | montag
  tuesday | mardi | dienstag
  wednesday | mercredi | mittwoch
  thursday | jeudi | donnerstag
  friday | vendredi | freitag
  saturday | samedi | samstag
  sunday | dimanche | sonntag
""")

MONTHS = forms.entries("""
  january | janvier | januar
  february | février | februar
  march | mars | märz
  april | avril | april
  may | mai | mai
  june | juin | juni
  july | juillet | juli
  august | août | august
  september | septembre | september
  october | octobre | oktober
  november | novembre | november
  december | décembre | dezember
""")

FAMILY = forms.nouns("""
  mother | mère f | mutter f
  father | père m | vater m
  sister | soeur f | schwester f
  brother | frère m | bruder m
  daughter | fille f | tochter f
  son | fils m | sohn m
  aunt | tante f | tante f
  uncle | oncle m | onkel m
  cousin | cousin m | cousin m
  grandmother | grand_mère f | großmutter f
  grandfather | grand_père m | großvater m
  wife | femme f | frau f
  husband | mari m | mann m
  friend | ami m | freund m
  teacher | professeur m | lehrer m
  boss | chef m | chef m
""")

PLACES = forms.nouns("""
  station | gare f | bahnhof m
  bank | banque f | bank f
  church | église f | kirche f
  museum | musée m | museum n
  hospital | hôpital m | krankenhaus n
  school | école f | schule f
  library | bibliothèque f | bibliothek f
  supermarket | supermarché m | supermarkt m
  bakery | boulangerie f | bäckerei f
  pharmacy | pharmacie f | apotheke f
  hotel | hôtel m | hotel n
  park | parc m | park m
  restaurant | restaurant m | restaurant n
  theatre | théâtre m | theater n
  cinema | cinéma m | kino n
  bridge | pont m | brücke f
  castle | château m | schloss n
  airport | aéroport m | flughafen m
  university | université f | universität f
  stadium | stade m | stadion n
""")

INSIDE = tuple(place for place in PLACES if place.en[""] != "bridge")

SIZES = forms.adjectives("""
  big | grand grande | groß
  small | petit petite | klein
  old | vieux vieille | alt
  new | nouveau nouvelle | neu
  beautiful | beau belle | schön
""")

FOODS = forms.nouns("""
  bread | pain m | brot n
  cheese | fromage m | käse m
  rice | riz m | reis m
  meat | viande f | fleisch n
  fish | poisson m | fisch m
  soup | soupe f | suppe f
  salad | salade f | salat m
  chicken | poulet m | hähnchen n
""")

EXTRAS = forms.nouns("""
  butter | beurre m | butter f
  honey | miel m | honig m
  jam | confiture f | marmelade f
  oil | huile f | öl n
  salt | sel m | salz n
  sugar | sucre m | zucker m
  cream | crème f | sahne f
  sauce | sauce f | soße f
""")

DRINKS = forms.nouns("""
  tea | thé m | tee m
  coffee | café m | kaffee m
  milk | lait m | milch f
  water | eau f | wasser n
  juice | jus m | saft m
  wine | vin m | wein m
  beer | bière f | bier n
""")

MEALS = forms.entries("""
  breakfast | petit déjeuner | frühstück
  lunch | déjeuner | mittagessen
  dinner | dîner | abendessen
""")

FURNITURE = forms.nouns("""
  table | table f | tisch m
  chair | chaise f | stuhl m
  bed | lit m | bett n
  shelf | étagère f | regal n
  cupboard | armoire f | schrank m
  box | boîte f | kiste f
  desk | bureau m | schreibtisch m
  sofa | canapé m | sofa n
""")

BESIDE = forms.entries("""
  on | sur | auf
  under | sous | unter
  next to | à côté de | neben
  behind | derrière | hinter
  in front of | devant | vor
""")

BELONGINGS = forms.nouns("""
  passport | passeport m | pass m
  camera | caméra f | kamera f
  key | clé f | schlüssel m
  ticket | billet m | fahrschein m
  phone | téléphone m | telefon n
  towel | serviette f | handtuch n
  map | carte f | karte f
  wallet | portefeuille m | geldbeutel m
  suitcase | valise f | koffer m
  watch | montre f | armbanduhr f
""")

MODES = forms.entries("""
  on foot | à pied | zu fuß
  by bus | en bus | mit dem bus
  by car | en voiture | mit dem auto
  by bike | à vélo | mit dem fahrrad
  by taxi | en taxi | mit dem taxi
  by tram | en tram | mit der straßenbahn
""")

# Days with their preposition, for sentences that start or end with the day.
ON_DAYS = tuple(forms.entry(f"on {day.en['']}", day.fr[""], f"am {day.de['']}") for day in DAYS)

# All times of the twelve-hour clock in steps of five minutes; full and half hours.
TIMES = tuple(forms.clock(hour, minute) for hour in range(1, 13) for minute in range(0, 60, 5))
HALF_HOURS = tuple(forms.clock(hour, minute) for hour in range(1, 13) for minute in (0, 30))
